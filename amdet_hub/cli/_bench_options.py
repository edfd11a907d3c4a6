"""Flags that the verbs which make an encoder share. Knows: click. Refuses to know: recipes, encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._help import option, stack

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def number(flag: str, default: float | None, text: str, *, section: str = "Training", kind: Any = int) -> Decorator:
    """A flag that holds a number. A range that the recipe checks is not checked here."""
    metavar = "X" if kind is float else "N"
    return option(
        flag, section=section, env=False, metavar=metavar, type=kind, default=default, show_default=True, help=text
    )


def text_option(flag: str, default: str, text: str, *, section: str) -> Decorator:
    """A flag that holds words."""
    return option(flag, section=section, env=False, metavar="TEXT", default=default, show_default=True, help=text)


def choice(flag: str, values: tuple[str, ...], default: str, text: str, *, section: str) -> Decorator:
    """A flag that holds one of some values."""
    return option(
        flag, section=section, env=False, type=click.Choice(values), default=default, show_default=True, help=text
    )


def folder(flag: str, text: str) -> Decorator:
    """A flag that names a folder, and is needed."""
    kind = click.Path(path_type=Path, file_okay=False)
    return option(flag, section="What to make", env=False, metavar="DIR", type=kind, required=True, help=text)


base_option = folder("--base", "The clean encoder to start from, in transformers layout.")


def training_options(steps: int, lr: float, positions: str) -> Decorator:
    """The flags of every verb that trains."""
    file = click.Path(path_type=Path, dir_okay=False)
    captions = "What to train on: .jsonl, .jsonl.gz (lists of captions) or a text file (one a line)."
    return stack(
        option(
            "--captions", section="What to make", env=False, metavar="FILE", type=file, required=True, help=captions
        ),
        folder("--out", "Where the new encoder goes."),
        number("--steps", steps, "Optimiser steps."),
        number("--lr", lr, "Learning rate of AdamW.", kind=float),
        number("--batch", 64, "Clean captions, or pairs, a step."),
        number("--positions", None, f"Token positions to train on. Default: {positions}.", kind=click.IntRange(min=1)),
        number("--held-out", 500, "Groups of captions kept for the measurement.", kind=click.IntRange(min=1)),
        number("--seed", 0, "Of the weights and of the order of captions."),
        opt.switch("--float32", section="Training", help="No bfloat16 matrix products."),
        opt.quiet_option,
        opt.progress_option,
    )
