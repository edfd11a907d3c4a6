"""A `ScanReport` as text, JSON, Markdown, SARIF, HTML or one row of a table.

Pure functions: no files, no Hub, no torch, no printing.

* `as_text`, `as_json`, `as_markdown`, `as_sarif`, `as_html`, `as_table_row`: the renderers. Same report, same bytes.
  `RENDERERS` has them by name.
* `parse_report`, `schema`: a stored JSON report read back, and its JSON Schema.
* `facts`: the facts that all forms show, `wording`: the words that they share.
* `escape`: how hostile text is shown in each form.
"""

from collections.abc import Callable, Mapping
from typing import Final

from amdet_hub.records import ScanReport
from amdet_hub.report.as_html import as_html
from amdet_hub.report.as_json import as_json, parse_report, schema
from amdet_hub.report.as_line import as_table_row
from amdet_hub.report.as_markdown import as_markdown
from amdet_hub.report.as_sarif import as_sarif
from amdet_hub.report.as_text import as_text

__all__ = [
    "RENDERERS",
    "as_html",
    "as_json",
    "as_markdown",
    "as_sarif",
    "as_table_row",
    "as_text",
    "parse_report",
    "schema",
]

# Format name -> renderer with its default settings. The text ends with a line end.
RENDERERS: Final[Mapping[str, Callable[[ScanReport], str]]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
    "sarif": as_sarif,
    "html": as_html,
    "table": as_table_row,
}
