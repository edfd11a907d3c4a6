"""How a runner is told: outputs, job summary, annotations.

No text of a repository is ever a command or an output of its own here.

Source: GitHub's documentation, "Workflow commands for GitHub Actions" (output files with a delimiter, escapes of
commands, 1 MiB a summary).
"""

import secrets
from collections.abc import Mapping
from pathlib import Path

# GitHub drops a step's summary of more than 1 MiB.
MAX_SUMMARY_BYTES = 900_000


def write_outputs(environ: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Append outputs to the file the runner named.

    A random delimiter keeps a value from being another output. Raises: OSError.
    """
    if path := environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            for name, value in outputs.items():
                fence = f"amdet-{secrets.token_hex(16)}"
                file.write(f"{name}<<{fence}\n{value}\n{fence}\n")


def write_summary(environ: Mapping[str, str], markdown: str) -> None:
    """Append Markdown to the job's summary. Raises: OSError."""
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        data = markdown.encode("utf-8", errors="backslashreplace")
        if len(data) > MAX_SUMMARY_BYTES:
            data = (
                data[:MAX_SUMMARY_BYTES].decode("utf-8", errors="ignore").encode()
                + b"\n\n(cut: the whole report is in the files)\n"
            )
        with Path(path).open("ab") as file:
            file.write(data)


def annotation(level: str, message: str, *, file: str | None = None, title: str = "amdet-hub") -> str:
    """One workflow command that shows `message` on the job and, with `file`, beside that file.

    `level`: notice, warning or error.
    """
    properties = f"title={_property(title)}" + (f",file={_property(file)},line=1" if file else "")
    return f"::{level} {properties}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
