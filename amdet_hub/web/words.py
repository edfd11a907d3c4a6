"""Errors as two short sentences for a visitor: what happened, what to do.

Returns unescaped text; whoever shows it escapes it.
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
    errors.Interrupted: "Nothing was kept. Start it again whenever you like.",
    errors.HubError: "Try again in a moment.",
}


def sentence(error: BaseException) -> str:
    """What to tell a visitor. Nothing of an unexpected error but its type is shown."""
    if isinstance(error, errors.NothingToScan):
        advice = (
            "Only safetensors weights are opened, because loading a pickle can run code."
            if error.pickle_only
            else "CLIP and SigLIP text encoders are scanned, alone or inside a pipeline."
        )
        return _joined(str(error), advice)
    if isinstance(error, errors.AmdetError):
        advice = next((_ADVICE[kind] for kind in type(error).__mro__ if kind in _ADVICE), "")
        return _joined(str(error), advice)
    return f"Something went wrong on our side ({type(error).__name__}). No verdict was reached; please try again."


def _joined(what: str, advice: str) -> str:
    what = what[:1].upper() + what[1:]
    return f"{what if what.endswith(('.', '?', '!')) else what + '.'} {advice}".strip()
