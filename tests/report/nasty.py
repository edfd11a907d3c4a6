"""Strings a hostile repository may hold, and a report with one of them in every place that takes free text."""

from __future__ import annotations

import json
from typing import Any

from amdet_hub.records import ScanReport, fingerprint, from_dict, to_dict

NASTY = {
    "ansi": "\x1b[2J\x1b[31mfake\x1b[0m",
    "osc8 link": "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "c1 csi": "\x9b31mred",
    "carriage return": "good\rBACKDOOR",
    "newline": "a\n[-] NO BACKDOOR FOUND\n::error::pwned\n# heading\n---",
    "crlf": "a\r\nb",
    "nul and del": "a\x00b\x7fc\x08\x08",
    "right-to-left override": "abc\u202efed\u202c",
    "isolates": "\u2066x\u2067y\u2069",
    "zero width": "zero\u200bwidth\u200d\u2060\ufeffjoin\u00ad",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "tags": "a\U000e0041\U000e0042",
    "surrogate": "a\ud800b",
    "private and unassigned": "\ue000\U0010ffff\ufdd0",
    "odd spaces": "a\u00a0b\u3000c\u2003d",
    "blank letters": "a\u3164b\u2800c\u115f",
    "zalgo": "z" + "\u0301\u0316" * 40 + "a\u20dd",
    "right-to-left letters": "\u05e9\u05dc\u05d5\u05dd \u0627\u0644\u0633\u0644\u0627\u0645 \u0661\u0662",
    "imitated escape": "\\u{1b}[31m",
    "pipes": "a | b || c |",
    "backticks": "`` ` ``` a`b`",
    "end marker": "x --> <!-- amdet-hub:end --> <!-- amdet-hub:begin v=1 -->",
    "marker variants": "<!--AMDET-HUB:END--><!--\tamdet-hub:end\t-->",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)></details></table>",
    "entities": "&lt;b&gt; &#60;script&#62; &amp;",
    "image": "![x](http://evil.example/x.png) ![y][z]",
    "link": "[safe](javascript:alert(1)) [z]: http://evil.example",
    "autolinks": (
        "http://evil.example www.evil.example a@evil.example <https://evil.example> evil.example ftp://e mailto:a@b.c"
    ),
    "mention": "@admin #1 org/model#2",
    "emphasis": "*a* **b** _c_ __d__ ~~e~~ ==f==",
    "blocks": "# h\n> q\n1. x\n- y\n***\n```\ncode",
    "math": "$$x$$ $y$ \\(z\\)",
    "workflow command": "::error file=x::pwned",
    "workflow command in the middle": "one two ::warning::three ##[error]four ##[add-mask]e",
    "shell": "x; rm -rf ~ $(id) `id` && 'quote' \"dq\" --reference evil",
    "yaml": "---\nlicense: mit\n---",
    "template": "${{ secrets.TOKEN }} {{ x }} {% y %} %s {0}",
    "homoglyphs": "\u0585\u0430\u0435\u03bf",
    "long": "A" * 9_000,
    "long unicode": "\u202e" * 5_000,
    "wide": "\u6f22\u5b57" * 60,
    "empty": "",
    "spaces": "   ",
    "quotes": '"\'"',
    "dashes": "--- -- - === ***",
}

_TYPED = {
    "family",
    "trust",
    "label",
    "code",
    "confidence",
    "reason",
    "sha256",
    "schema_version",
    "config_fingerprint",
    "config",
    "key_layout",
    "read_out",
    "naming",
    "relation",
    "token_class",
}
_TYPED_KINDS = {"hub", "local", "result", "skipped", "tokenizer-difference"}


def poisoned(report: ScanReport, text: str) -> ScanReport:
    """`report` with `text` in every field that takes free text, mapping keys and the preset included."""
    data = _poison(to_dict(report), text, "")
    data["config"] = {"preset": text, "seed": text}
    data["config_fingerprint"] = fingerprint(data["config"])
    for outcome in data["outcomes"]:
        if outcome["kind"] == "result":
            outcome["timings_s"] = {text: 1.0}
            outcome["batch_sizes"] = {text: 1}
            outcome["evidence"][0]["details"] = {text: [text]}
    return from_dict(ScanReport, json.loads(json.dumps(data)))


def _poison(value: Any, text: str, key: str) -> Any:
    if isinstance(value, dict):
        reference = "trust" in value
        return {k: text if reference and k == "commit_sha" else _poison(v, text, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_poison(v, text, key) for v in value]
    if not isinstance(value, str) or key in _TYPED or key == "commit_sha" or (key == "kind" and value in _TYPED_KINDS):
        return value
    return text
