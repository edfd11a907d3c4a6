"""The exit codes, once, and how a verdict or an exception becomes one. An exception also becomes two lines on stderr.

Knows: which outcome outweighs which. Refuses to know: how anything was tried. The words are those of
`amdet_hub.report.advice`; text of a repository inside a message is escaped, a token is blanked.
"""

import os
import traceback
from collections.abc import Mapping, Sequence

from amdet_hub import errors
from amdet_hub.cli._output import escape, say
from amdet_hub.records import VerdictLabel
from amdet_hub.report import advice

# No backdoor found, or nothing of this kind to scan; or the verb did what it was asked.
EXIT_OK = 0
# Backdoor detected; `verify`: forged.
EXIT_DETECTED = 1
# Usage or error: no verdict.
EXIT_ERROR = 2
# Inconclusive: something was not, or could not be, looked at; `verify`: stale or missing.
EXIT_INCONCLUSIVE = 3
# Ctrl-C, as shells count it: 128 + SIGINT.
EXIT_INTERRUPTED = 130

_WEAKEST_FIRST = (EXIT_OK, EXIT_INCONCLUSIVE, EXIT_ERROR, EXIT_DETECTED, EXIT_INTERRUPTED)
_FAILING: Mapping[str, Mapping[str, int]] = {
    "never": {},
    "detected": {"backdoor-detected": EXIT_DETECTED},
    "inconclusive": {"backdoor-detected": EXIT_DETECTED, "inconclusive": EXIT_INCONCLUSIVE},
}
# That of any other error is `EXIT_ERROR`.
_OF_ERRORS: Mapping[type[BaseException], int] = {
    errors.BackdoorDetected: EXIT_DETECTED,
    errors.NotCleared: EXIT_INCONCLUSIVE,
    errors.Interrupted: EXIT_INTERRUPTED,
}


def worst(codes: Sequence[int]) -> int:
    """The exit code of several targets together: a backdoor outweighs an error, an error an inconclusive one."""
    return max(codes, key=_WEAKEST_FIRST.index, default=EXIT_OK)


def verdict_exit_code(label: VerdictLabel, fail_on: str) -> int:
    """1 for a detected backdoor, 3 for inconclusive, 0 else; 0 where `--fail-on` looks away."""
    return _FAILING[fail_on].get(label, EXIT_OK)


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and words for any exception: the sentence with its code, and below it the next step."""
    found = advice.explain(error, flags=True)
    words = f"Error: {escape(found.sentence)} [{found.code}]\n{escape(found.advice)}"
    return _OF_ERRORS.get(type(error), EXIT_ERROR), words.rstrip()


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
