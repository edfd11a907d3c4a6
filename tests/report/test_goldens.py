from __future__ import annotations

from collections.abc import Callable

import pytest

from amdet_hub.model_card.render import render_section
from amdet_hub.report import RENDERERS, as_text
from amdet_hub.report.error_rates import MeasuredRates
from tests.report.examples import EXAMPLES, backdoored

SUFFIXES = {"text": "txt", "json": "json", "markdown": "md", "sarif": "sarif", "html": "html", "table": "row.txt"}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("kind", RENDERERS)
def test_report(name: str, kind: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.{SUFFIXES[kind]}", RENDERERS[kind](EXAMPLES[name]()))


@pytest.mark.parametrize("name", EXAMPLES)
def test_section(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.section.md", render_section(EXAMPLES[name]()))


def test_section_with_measured_rates(golden: Callable[[str, str], None]) -> None:
    measured = MeasuredRates("standard", "clip", 0.0, 0.9833, 60, 120, "bench 2026-02, held-out seeds")
    golden("measured.section.md", render_section(backdoored(), measured=measured))


@pytest.mark.parametrize("name", EXAMPLES)
def test_verbose_text(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.verbose.txt", as_text(EXAMPLES[name](), verbose=True))


def test_narrow_coloured_text(golden: Callable[[str, str], None]) -> None:
    golden("backdoored.80.color.txt", as_text(backdoored(), color=True, width=80))


@pytest.mark.parametrize("kind", RENDERERS)
def test_same_report_same_bytes(kind: str) -> None:
    assert RENDERERS[kind](backdoored()) == RENDERERS[kind](backdoored())
