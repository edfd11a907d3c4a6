"""From an exception to an exit code and two lines on stderr. The words are those of `amdet_hub.report.advice`.

Knows: exit codes. Refuses to know: how anything was tried. Text of a repository inside a message is escaped, a token
is blanked.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping

from amdet_hub import errors
from amdet_hub.cli._exit_codes import EXIT_DETECTED, EXIT_ERROR, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED
from amdet_hub.cli._output import escape, say
from amdet_hub.report import advice

EXIT_CODES: Mapping[type[BaseException], int] = {
    errors.BackdoorDetected: EXIT_DETECTED,
    errors.NotCleared: EXIT_INCONCLUSIVE,
    errors.Interrupted: EXIT_INTERRUPTED,
}
"""Exit codes of errors; that of any other is `EXIT_ERROR`."""


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and words for any exception: the sentence with its code, and below it the next step."""
    found = advice.explain(error, flags=True)
    first = f"Error: {escape(found.sentence)} [{found.code}]"
    return EXIT_CODES.get(type(error), EXIT_ERROR), f"{first}\n{escape(found.advice)}".rstrip()


def report_error(error: BaseException, *, about: str | None = None) -> int:
    """Say what went wrong on stderr, with a traceback only if AMDET_HUB_DEBUG is set. Returns the exit code.

    Args:
        error: what happened.
        about: the target it happened to, said where there are several.
    """
    if os.environ.get("AMDET_HUB_DEBUG"):
        say("".join(traceback.format_exception(error)).rstrip())
    code, words = explain(error)
    say(f"{escape(about)}: {words}" if about else words)
    return code
