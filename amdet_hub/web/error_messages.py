"""Errors as a sentence, the next step and a reason code for a visitor. The caller escapes the text."""

from amdet_hub import errors
from amdet_hub.report import advice

# Next steps of a visitor, who has no token and no shell here.
_ON_A_PAGE: dict[type[errors.AmdetError], str] = {
    errors.RepoNotFound: "Check the spelling. To scan a private model, use the command line.",
    errors.RateLimited: "The Hub asks this Space to slow down. Try again in a few minutes.",
    errors.AccessDenied: "Sign in again, and allow this Space to open pull requests.",
}


def code_of(error: BaseException) -> str:
    """The reason code of any error; `"unexpected-error"` for one that is not ours."""
    return error.code if isinstance(error, errors.AmdetError) else "unexpected-error"


def error_message(error: BaseException) -> str:
    """The words for a visitor, with the code in brackets at their end. Shows only the type of an unexpected error."""
    if not isinstance(error, errors.AmdetError):
        return f"This Space failed ({type(error).__name__}). There is no verdict; please try again. [unexpected-error]"
    found = advice.explain(error)
    sentence = f"{found.sentence[:1].upper()}{found.sentence[1:]}"
    return f"{sentence} {_ON_A_PAGE.get(type(error), found.advice)}".rstrip() + f" [{found.code}]"
