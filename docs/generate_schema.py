"""Makes the tables of the JSON report from its published schema. Used by `generate.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amdet_hub.report import schema

Node = Mapping[str, Any]


def schema_tables() -> str:
    """Return a table for the report and for each record in it."""
    whole = schema()
    parts = ["", _table("Report", whole)]
    parts += [_table(name, definition) for name, definition in whole["$defs"].items()]
    return "\n".join(parts) + "\n"


def _table(name: str, node: Node) -> str:
    lines = [f"### {name}", ""]
    if "description" in node:
        lines += [node["description"], ""]
    required = set(node.get("required", ()))
    lines += ["| Field | Type | Meaning |", "|---|---|---|"]
    for field, value in node.get("properties", {}).items():
        shown = f"`{field}`" if field in required else f"`{field}` (optional)"
        lines.append(f"| {shown} | {_type(value)} | {_cell(value.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def _type(node: Node) -> str:
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join("null" if value is None else f"`{value}`" for value in node["enum"])
    for key in ("oneOf", "anyOf"):
        if key in node:
            return " or ".join(_type(choice) for choice in node[key])
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}" if isinstance(node.get("items"), Mapping) else "list"
    kind = node.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
