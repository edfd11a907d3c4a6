"""`amdet-hub bench speed`: how long scans of one model take here, and what share of the machine they use.

Knows: words and files.
"""

from pathlib import Path

import click

from amdet_hub.cli._help import HelpLayout, option
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.errors import ConfigError

SPEED_EPILOG = """
Examples:
  {prog} bench speed --model ./my-encoder
  {prog} bench speed --model ./my-encoder --size 12x768x12 --device cuda --out speed.md

The suspect is the model with a little weight noise, the reference the model itself. Nothing else should run meanwhile.
OMP_NUM_THREADS sets the threads. Exit codes: 0 measured, 2 usage or error, 130 interrupted.
"""


def encoder_size(text: str) -> tuple[int, int, int]:
    """Layers, width and heads of `LAYERSxWIDTHxHEADS`. Raises: click.BadParameter."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise click.BadParameter(f"'{text}' is not layers x width x heads, such as 12x512x8")
    return int(parts[0]), int(parts[1]), int(parts[2])


@click.command(cls=HelpLayout, epilog=SPEED_EPILOG, short_help="Measure how long scans take on this machine.")
@option(
    "--model",
    section="What to measure",
    env=False,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="An encoder of your own: a folder in transformers layout with a tokenizer.",
)
@option(
    "--size",
    section="What to measure",
    env=False,
    type=encoder_size,
    metavar="LxDxH",
    help="Take random weights of this size (layers x width x heads) instead of the model's.",
)
@option(
    "--preset",
    "presets",
    section="What to measure",
    env=False,
    multiple=True,
    type=click.Choice(("quick", "standard", "paper")),
    help="Only this preset. Repeatable. Default: all three; 'paper' takes longest.",
)
@option(
    "--no-stages",
    section="What to measure",
    env=False,
    is_flag=True,
    help="Leave out the second table, and its two further scans.",
)
@option("--device", section="What to measure", env=False, default="auto", show_default=True, help="auto, cpu or cuda.")
@option(
    "--out",
    section="Results",
    env=False,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write the tables to a file.",
)
def speed(
    model: Path,
    size: tuple[int, int, int] | None,
    presets: tuple[str, ...],
    no_stages: bool,
    device: str,
    out: Path | None,
) -> None:
    """Print, as Markdown, the time of each preset on one model, and each stage as a share of the machine's peak."""
    from amdet_hub.bench.speed import measure_speed
    from amdet_hub.bench.speed_report import as_table

    if not model.is_dir():
        raise ConfigError("--model", f"{model} is no folder")
    found = measure_speed(
        model,
        presets=tuple(p for p in ("quick", "standard", "paper") if not presets or p in presets),
        device=device,
        size=size,
        stages=not no_stages,
        said=lambda line: say(f"{escape(line)} ..."),
    )
    text = as_table(found)
    emit(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
        say(f"Wrote {escape(str(out))}.")
