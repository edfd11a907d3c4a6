"""Small pieces of HTML. Every string that goes in comes out escaped; there is no way to pass HTML through `text`.

Standard library only.
"""

from collections.abc import Iterable, Sequence

from amdet_hub.report.html_figures import code
from amdet_hub.report.html_figures import html as text

__all__ = ["bullets", "code", "facts", "note", "section", "table", "text"]


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A list of names and values; the values are HTML already."""
    return (
        "<dl class='facts'>"
        + "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in rows)
        + "</dl>"
    )


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; on a narrow screen each row becomes a list, whose values carry the names of their columns.

    The cells are HTML already.
    """
    names = [text(one) for one in head]
    heads = "".join(f"<th scope='col'>{name}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td data-name='{n}'>{cell}</td>" for n, cell in zip(names, row, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        "<div class='wide' tabindex='0' role='region'"
        f" aria-label='{text(caption)}'><table><caption>{text(caption)}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def bullets(items: Iterable[str]) -> str:
    """A list; the items are HTML already."""
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def note(kind: str, title: str, body: str, *, code: str) -> str:
    """A box, which screen readers announce when it appears.

    Args:
        kind: its looks: "found", "clean", "unsure", "error", "wait" or "plain".
        title: plain text.
        body: HTML already.
        code: what the box says, for programs: a reason code, or the state of a job.
    """
    role = "alert" if kind == "error" else "status"
    return (
        f"<div class='note {kind}' role='{role}' data-code='{text(code)}'>"
        f"<p class='title'>{text(title)}</p>{body}</div>"
    )


def section(title: str, explained: str, content: str) -> str:
    """A part of an answer under its own heading; all three are HTML already."""
    return f"<h3>{title}</h3><p class='quiet'>{explained}</p>{content}"
