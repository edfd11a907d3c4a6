"""The exit codes, once. Knows: numbers. Refuses to know: what leads to them."""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
"""No backdoor found, or nothing of this kind to scan; or the verb did what it was asked."""
EXIT_DETECTED = 1
"""Backdoor detected; `verify`: forged."""
EXIT_ERROR = 2
"""Usage or error: no verdict."""
EXIT_INCONCLUSIVE = 3
"""Inconclusive: something was not, or could not be, looked at; `verify`: stale or missing."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells count it: 128 + SIGINT."""

_WEAKEST_FIRST = (EXIT_OK, EXIT_INCONCLUSIVE, EXIT_ERROR, EXIT_DETECTED, EXIT_INTERRUPTED)


def worst(codes: Sequence[int]) -> int:
    """The exit code of several targets together: a backdoor outweighs an error, an error an inconclusive one."""
    return max(codes, key=_WEAKEST_FIRST.index, default=EXIT_OK)
