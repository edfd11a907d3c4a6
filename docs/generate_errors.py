"""Makes the page of error codes from the classes of `amdet_hub.errors`. Used by `generate.py`."""

from __future__ import annotations

import inspect
import textwrap
import tomllib
from pathlib import Path

from amdet_hub import errors

INTRODUCTION = """\
# Errors

Every error of this package is an `AmdetError` with a `code`. The command line prints one sentence that ends with the
code in brackets, then the next step, and exits with 2 unless a section says otherwise. `AMDET_HUB_DEBUG=1` shows the
traceback. In Python, `error.code` is the code, and the error carries its data as attributes.
"""

TEXTS = Path(__file__).parent / "errors.toml"
"""The next step of each code."""


def errors_page() -> str:
    """Return the whole page.

    Raises:
        KeyError: `errors.toml` has no row for an error class.
    """
    steps = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    classes = [cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, errors.AmdetError)]
    ordered = sorted(classes, key=lambda cls: cls.code)
    return "\n".join([INTRODUCTION, *(_section(cls, steps[cls.code]) for cls in ordered)])


def _section(cls: type[errors.AmdetError], step: str) -> str:
    meaning = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
    paragraphs = (f"`{cls.__name__}`. {meaning}", f"**Next step.** {step}")
    lines = [textwrap.fill(text, 119, break_long_words=False, break_on_hyphens=False) for text in paragraphs]
    return "\n\n".join([f"## {cls.code}", *lines]) + "\n"
