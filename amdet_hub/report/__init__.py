"""A `ScanReport` as text, JSON, Markdown, SARIF, HTML, and as a section of a model card.

Pure functions: no files, no Hub, no torch, no printing.

* `as_text`, `as_json`, `as_markdown`, `as_sarif`, `as_html`: the renderers, also in `RENDERERS` by name. Same report,
  same bytes.
* `parse_report`, `schema`: a stored JSON report read back, and its JSON Schema.
* `amdet_hub.model_card.render`: the model-card section and its splicing; `amdet_hub.model_card.verify`: is a card's
  section still about these weights?
* `amdet_hub.report.escape`: how hostile text is shown in each format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from amdet_hub.records import ScanReport
from amdet_hub.report.as_html import as_html
from amdet_hub.report.as_json import as_json, parse_report, schema
from amdet_hub.report.as_markdown import as_markdown
from amdet_hub.report.as_sarif import as_sarif
from amdet_hub.report.as_text import as_text

__all__ = ["RENDERERS", "as_html", "as_json", "as_markdown", "as_sarif", "as_text", "parse_report", "schema"]

RENDERERS: Final[Mapping[str, Callable[[ScanReport], str]]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
    "sarif": as_sarif,
    "html": as_html,
}
"""Format name -> renderer with its default settings."""
