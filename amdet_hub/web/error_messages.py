"""Errors as two short sentences and a reason code for a visitor: what happened, what to do.

Returns unescaped text; the caller escapes it.
"""

from __future__ import annotations

from amdet_hub import errors

_ADVICE: dict[type[errors.AmdetError], str] = {
    errors.TargetError: "An id looks like org/model or org/model@revision; the address of a model page works too.",
    errors.RepoGated: "Sign in above with an account that has accepted its terms, or scan it with the command line.",
    errors.RepoNotFound: (
        "Check the spelling. A private model cannot be seen from here: scan it with the command line."
    ),
    errors.RevisionNotFound: "Leave the part after the '@' out to look at the main branch.",
    errors.RateLimited: "The Hub asks us to slow down. Try again in a few minutes.",
    errors.HubUnavailable: "The Hub cannot be reached at the moment. Try again in a few minutes.",
    errors.AccessDenied: "Sign in again, and allow this Space to open pull requests.",
    errors.CommitConflict: "The repository changed meanwhile and nothing was written. Look it up again.",
    errors.PullRequestClosed: "The owner closed the earlier proposal, so no other one is opened.",
    errors.CardError: "Nothing was written.",
    errors.BadRepository: "No verdict is given for a broken file. Its owner has to mend it.",
    errors.ResourceError: "This Space is too small for it. The command line on a machine of your own is not.",
    errors.Interrupted: "No result was stored. Start it again at any time.",
    errors.HubError: "Try again in a moment.",
}


def code_of(error: BaseException) -> str:
    """The reason code of any error; `"unexpected-error"` for one that is not ours."""
    return error.code if isinstance(error, errors.AmdetError) else "unexpected-error"


def error_message(error: BaseException) -> str:
    """What to tell a visitor, with the code in brackets at its end. Shows only the type of an unexpected error."""
    if isinstance(error, errors.AmdetError):
        advice = next((_ADVICE[kind] for kind in type(error).__mro__ if kind in _ADVICE), "")
        text = str(error)
        text = f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'} {advice}".rstrip()
    else:
        text = f"Something went wrong on our side ({type(error).__name__}). There is no verdict; please try again."
    return f"{text} [{code_of(error)}]"
