"""HTML pages that need nothing else: one style, and the pieces that every page is made of."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

from ml_assets.atomic import write_text
from ml_assets.escaping import script_data
from ml_assets.reporting.plots import Figure, inline

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
)
STYLE = """
@page { size: A4; margin: 14mm }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1c2733; background: #eef1f4; margin: 0 }
main { max-width: 960px; margin: 0 auto; padding: 36px 44px 60px; background: #fff }
h1 { font-size: 27px; margin: 0; line-height: 1.25 }
h2 { font-size: 19px; margin: 40px 0 8px; padding-bottom: 5px; border-bottom: 2px solid #0072B2 }
h3 { font-size: 15px; margin: 22px 0 4px }
.by { color: #5b6875; margin: 4px 0 20px }
.answer { background: #f2f7fb; border-left: 5px solid #0072B2; padding: 12px 20px; margin: 18px 0 }
.answer p { margin: 6px 0 }
.answer p:first-child { font-size: 17px; font-weight: 600 }
.alarm { background: #fdf1ea; border-left-color: #D55E00 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0 }
.tile { border: 1px solid #d5dce3; border-radius: 6px; padding: 10px 14px }
.tile b { display: block; font-size: 23px; line-height: 1.3 }
.tile span { color: #5b6875; font-size: 13px }
figure { margin: 10px 0 18px; break-inside: avoid }
figure img { max-width: 100%; display: block }
figcaption { color: #45525e; font-size: 13.5px; margin-top: 4px }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; margin: 8px 0 14px }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid #e3e8ec; vertical-align: top }
th { color: #5b6875; font-weight: 600 }
td:last-child { overflow-wrap: anywhere }
tr { break-inside: avoid }
h2, h3 { break-after: avoid }
code { font-size: 13px }
nav a, .by a { color: #00598c }
@media print { body { background: #fff; font-size: 12px } main { padding: 0; max-width: none } }
"""


def write(file: Path, page: str) -> None:
    """Write a page; it appears whole or not at all."""
    write_text(file, page)


def document(title: str, body: Iterable[str]) -> str:
    """A page's HTML, from pieces of it."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{policy("")}<title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def policy(page: str) -> str:
    """A page's Content-Security-Policy: it loads nothing, and runs only the scripts that it has now.

    Args:
        page: The page, whose scripts are allowed by their hashes; its data must not be able to begin one.
    """
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = "; script-src " + " ".join(f"'sha256-{digest}'" for digest in hashes) if hashes else ""
    return f'<meta http-equiv="Content-Security-Policy" content="{POLICY}{allowed}">'


def sealed(page: str) -> str:
    """A page of Evidently in which no value of the data can become a script."""
    page = script_data(page)
    return page.replace("<head>", f"<head>{policy(page)}", 1)


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it; nothing where it would be empty."""
    text = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{text}</section>" if text else ""


def figure(picture: Figure) -> str:
    """A picture under its title, with the sentence that says how to read it."""
    return (
        f'<h3>{escape(picture.title)}</h3><figure><img alt="{escape(picture.title)}" src="{inline(picture.png)}">'
        f"<figcaption>{escape(picture.reading)}</figcaption></figure>"
    )


def paragraphs(sentences: Iterable[str]) -> list[str]:
    """Each sentence as a paragraph."""
    return [f"<p>{escape(sentence)}</p>" for sentence in sentences]


def tiles(numbers: Iterable[tuple[str, str, str]]) -> str:
    """Numbers in large type: (number, what it means, a smaller line below or nothing)."""
    shown = []
    for number, text, below in numbers:
        lines = "<br>".join(escape(line) for line in (text, below) if line)
        shown.append(f'<div class="tile"><b>{escape(number)}</b><span>{lines}</span></div>')
    return f'<div class="tiles">{"".join(shown)}</div>'


def table(names: Sequence[str], rows: Iterable[Sequence[object]], cell: Callable[[object], str] = str) -> str:
    """A table; nothing where there are no rows.

    Args:
        names: Of the columns.
        rows: Their values.
        cell: How a value is shown.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = ["".join(f"<td>{escape(cell(value))}</td>" for value in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if lines else ""
