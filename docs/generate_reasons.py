"""Makes the page of reason codes and findings. Used by `generate.py`.

The sentence and the next step of a code are those of `amdet_hub.records.reason_codes`. `reasons.toml` adds the groups
and the longer explanations.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amdet_hub.records.reason_codes import REASONS

TEXTS = Path(__file__).parent / "reasons.toml"

INTRODUCTION = """\
# Reason codes and findings

Every verdict and every part that was not scanned carries a code. It stands in the text report, as `verdict.code` and
`reason` in [JSON](report.md), and as `ruleId` in SARIF. The Action, the hook, the watch and the MCP server answer with
it too. A code does not change between versions; the sentences around it may. The code of a repository's verdict is
that of the part that decided it.
"""


def reasons_page() -> str:
    """Return the whole page.

    Raises:
        ValueError: a code of the table stands in no group, or a group names a code that is not in the table.
    """
    texts = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    grouped = [code for group in texts["groups"] for code in group["codes"]]
    if sorted(grouped) != sorted(REASONS):
        raise ValueError(f"reasons.toml must hold each code once: {sorted(set(grouped) ^ set(REASONS))}")
    return "\n".join([INTRODUCTION, *_codes(texts["groups"]), *_findings(texts["findings"])])


def wrapped(text: str) -> str:
    """Return one paragraph in lines of at most 119 columns."""
    return textwrap.fill(text, 119, break_long_words=False, break_on_hyphens=False)


def _codes(groups: list[dict[str, Any]]) -> Iterator[str]:
    rows: dict[str, Any] = dict(REASONS)
    for group in groups:
        yield f"## {group['heading']}\n" + (f"\n{wrapped(group['shared'])}\n" if group["shared"] else "")
        for code, more in group["codes"].items():
            text, advice = rows[code].text, rows[code].advice
            parts = (
                f"### {code}",
                f"{text[0].upper()}{text[1:]}.",
                more,
                f"**Next step.** {advice}" if advice else "",
            )
            yield "\n\n".join(wrapped(part) for part in parts if part) + "\n"


def _findings(findings: dict[str, str]) -> Iterator[str]:
    yield "## Findings\n\nThe `kind` of a row of evidence. *beyond* its threshold lies on the backdoor's side.\n"
    for kind, meaning in findings.items():
        yield f"### {kind}\n\n{wrapped(meaning)}\n"
