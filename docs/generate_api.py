"""The page of the Python API, from signatures and docstrings. Used by `generate.py`."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from typing import Any

PAGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("The package", "amdet_hub", ("scan", "guard", "Clearance", "Scanner")),
    ("How to scan", "amdet_hub", ("ScanConfig", "ScanOptions", "Monitor")),
    ("How to reach the Hub", "amdet_hub.hub", ("HubSettings", "parse_target")),
    ("Before a scan", "amdet_hub.scanner", ("ResolvedTarget", "EncoderPair", "plan_target")),
    ("Looking closer", "amdet_hub.scanner", ("PromptInspector", "Probe", "EncoderView", "PairCache")),
    (
        "Records",
        "amdet_hub.records",
        (
            "ScanReport",
            "ScanResult",
            "SkippedScan",
            "Verdict",
            "Evidence",
            "TriggerFinding",
            "Reference",
            "ResolvedEncoder",
        ),
    ),
    ("Reports", "amdet_hub.report", ("as_text", "as_json", "as_markdown", "parse_report", "schema")),
    ("Comparing reports", "amdet_hub.report.diff", ("diff_reports", "ReportDiff", "Change")),
    (
        "Accepted findings",
        "amdet_hub.report.baselines",
        ("Baseline", "Acceptance", "acceptances_of", "parse_baseline", "verdict_beyond"),
    ),
    ("Model cards", "amdet_hub.model_card.publish", ("preview_card", "push_card", "verify_card")),
    ("Watching", "amdet_hub.automation.watch", ("watch", "WatchConfig", "WatchEvent", "WatchSummary")),
    ("For tests", "amdet_hub.testing", ("LocalHub",)),
)
"""Heading, module, names: what we promise to keep."""

_SECTIONS = ("Args", "Returns", "Raises", "Attributes", "Example", "Yields")
_SECTION = re.compile(rf"^({'|'.join(_SECTIONS)}):(?: (.*))?$")


def api_page() -> str:
    """The whole page."""
    lines = [
        "# Python API",
        "",
        "Made from the docstrings by `python docs/generate.py`; a test holds it to the code. All is typed.",
        "Importing `amdet_hub` imports no torch. Names that are not on this page may change without notice.",
        "",
    ]
    for heading, module, names in PAGES:
        lines += [f"## {heading}", "", f"`from {module} import {', '.join(names)}`", ""]
        for name in names:
            lines += _entry(module, name)
    lines += ["## Errors", "", "All in `amdet_hub.errors`, all below `AmdetError`. They carry data as attributes.", ""]
    errors = importlib.import_module("amdet_hub.errors")
    for name, cls in vars(errors).items():
        if inspect.isclass(cls) and issubclass(cls, Exception):
            lines.append(f"- `{name}({', '.join(base.__name__ for base in cls.__bases__)})`: {_first_line(cls)}")
    return "\n".join(lines) + "\n"


def _entry(module: str, name: str) -> list[str]:
    found = getattr(importlib.import_module(module), name)
    lines = [f"### {name}", "", "```text", _signature(name, found), "```", "", *_docstring(found)]
    if inspect.isclass(found):
        for method, member in vars(found).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if method.startswith("_") or not inspect.isfunction(function):
                continue
            shown = method if isinstance(member, property) else _signature(method, function)
            lines += [f"- `{' '.join(shown.split())}`: {_first_line(function)}"]
        lines += [""] if lines[-1] else []
    return lines


def _types(found: Any) -> dict[str, str]:
    """The annotations as they are written, by the name of the parameter or field; "return" is the result's."""
    node: Any = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]
    if isinstance(node, ast.ClassDef):
        rows = [(row.target.id, row.annotation) for row in node.body if isinstance(row, ast.AnnAssign)]
    elif not isinstance(node, ast.FunctionDef):  # a lambda, as the default of a field
        return {}
    else:
        arguments = (*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        rows = [*((a.arg, a.annotation) for a in arguments if a is not None), ("return", node.returns)]
    return {name: ast.unparse(annotation) for name, annotation in rows if annotation is not None}


def _signature(name: str, found: Any) -> str:
    if inspect.isclass(found) and dataclasses.is_dataclass(found):
        types = _types(found)
        fields = dataclasses.fields(found)
        shown = [f"{f.name}: {types[f.name]}{_default(f.default, dataclasses.MISSING)}" for f in fields]
        return _laid_out(name, shown, "")
    target = found.__init__ if inspect.isclass(found) else found
    types = _types(target)
    parts, starred = [], False
    for parameter in inspect.signature(target).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        prefix = (
            "*"
            if parameter.kind is parameter.VAR_POSITIONAL
            else "**"
            if parameter.kind is parameter.VAR_KEYWORD
            else ""
        )
        kind = f": {types[parameter.name]}" if parameter.name in types else ""
        parts.append(f"{prefix}{parameter.name}{kind}{_default(parameter.default, parameter.empty)}")
    returns = "" if inspect.isclass(found) else f" -> {types.get('return', 'None')}"
    return _laid_out(name, parts, returns)


def _default(value: Any, absent: Any) -> str:
    if value is absent:
        return ""
    return f" = {value!r}" if value is None or isinstance(value, str | int | float | bool | tuple) else " = ..."


def _laid_out(name: str, parts: list[str], tail: str) -> str:
    flat = f"{name}({', '.join(parts)}){tail}"
    if len(flat) <= 110:
        return flat
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){tail}"])


def _first_line(found: Any) -> str:
    return (inspect.getdoc(found) or "").split("\n\n")[0].replace("\n", " ")


def _docstring(found: Any) -> list[str]:
    lines: list[str] = []
    section = ""
    for line in (inspect.getdoc(found) or "").splitlines():
        match = _SECTION.match(line)
        if match:
            section = match[1]
            lines += ["", f"**{section}**", ""] if match[2] is None else ["", f"**{section}**: {match[2]}"]
        elif not line.startswith(" "):
            section = section if not line else ""
            lines.append(line)
        elif section == "Example":
            lines.append(line)
        else:
            lines.append(_item(line, section))
    return [*_collapsed(lines), ""]


def _item(line: str, section: str) -> str:
    name = re.match(r"^ {4}(\w+): (.*)$", line)
    if section in ("Args", "Raises", "Attributes") and name:
        return f"- `{name[1]}`: {name[2]}"
    return f"  {line.strip()}" if section in ("Args", "Raises", "Attributes") else line.strip()


def _collapsed(lines: list[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    while kept and not kept[-1]:
        kept.pop()
    return kept
