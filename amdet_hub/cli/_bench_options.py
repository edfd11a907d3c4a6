"""Flags that the verbs which make an encoder share. Knows: click. Refuses to know: recipes, encoders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._help import F, option, stack


def number(
    flag: str, default: float | None, text: str, *, section: str = "Training", kind: Any = int
) -> Callable[[F], F]:
    """A flag that holds a number. A range that the recipe checks is not checked here."""
    return option(
        flag,
        section=section,
        env=False,
        metavar="X" if kind is float else "N",
        type=kind,
        default=default,
        show_default=True,
        help=text,
    )


def words(flag: str, default: str, text: str, *, section: str, values: tuple[str, ...] = ()) -> Callable[[F], F]:
    """A flag that holds words: any, or one of `values`."""
    kind = click.Choice(values) if values else str
    return option(flag, section=section, env=False, type=kind, default=default, show_default=True, help=text)


def folder(flag: str, text: str) -> Callable[[F], F]:
    """A flag that names a folder, and is needed."""
    return option(
        flag,
        section="What to make",
        env=False,
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help=text,
    )


base_option = folder("--base", "The clean encoder to start from, in transformers layout.")


def training_options(steps: int, lr: float, positions: str) -> Callable[[F], F]:
    """The flags of every verb that trains."""
    return stack(
        option(
            "--captions",
            section="What to make",
            env=False,
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            required=True,
            help="What to train on: .jsonl, .jsonl.gz (lists of captions) or a text file (one a line).",
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
