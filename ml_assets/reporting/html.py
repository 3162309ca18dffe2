"""HTML reports that need no other file: templates, rendered with every value as text, and pages that run no script.

Belongs here: how a report becomes a page. Does not: what a report says (evaluation_report.py, drift_report.py), nor its
markup and style (templates/).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ml_assets.atomic import write_text
from ml_assets.escaping import script_data
from ml_assets.reporting.svg import Plot

TEMPLATES = Path(__file__).with_name("templates")
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
)


SCROLLING = '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>'


@dataclass(frozen=True)
class Cell:
    """A value of a table that is marked.

    Args:
        text: As it is shown.
        style: good, bad or wait.
        strength: From 0 to 1: how much of the accent colour is behind it.
    """

    text: str
    style: str = ""
    strength: float = 0.0


@dataclass(frozen=True)
class ReportTable:
    """A table of a report.

    Args:
        names: Of the columns.
        rows: Their values, as they are shown.
        label: What it is, for whoever hears the page.
        stacks: On a phone, each row is a block of lines: for tables of few rows that must be read whole.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    label: str = ""
    stacks: bool = False


KINDS = ((str, "text"), (ReportTable, "table"), (Plot, "plots"))  # all others are figures, which need numpy


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading; one without content is not shown.

    Args:
        title: Its heading.
        blocks: Sentences, tables, plots and figures, in order. Plots that follow each other stand side by side.
    """

    title: str
    blocks: Sequence[Any]

    @property
    def anchor(self) -> str:
        """Its name in addresses."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def parts(self) -> list[tuple[str, Any]]:
        """(text, table, plots or figures; the block or blocks), without what is empty."""
        parts: list[tuple[str, Any]] = []
        for block in self.blocks:
            kind = next((kind for of, kind in KINDS if isinstance(block, of)), "figures")
            if kind in ("plots", "figures") and parts and parts[-1][0] == kind:
                parts[-1][1].append(block)
            elif kind in ("plots", "figures"):
                parts.append((kind, [block]))
            elif block if kind == "text" else block.rows:
                parts.append((kind, block))
        return parts


@dataclass(frozen=True)
class Tile:
    """A number in large type, what it means, and its interval or the like."""

    number: str
    meaning: str
    detail: str = ""


def render(template: str, **values: Any) -> str:
    """A template with its values, of which none can become markup.

    Args:
        template: File name in templates/.
        values: What it names; a missing one is an error.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["policy"] = Markup(policy(""))  # noqa: S704 - our own text
    return made


def markdown_page(text: str, title: str, links: Mapping[str, str]) -> str:
    """A page of Markdown; HTML in it stays text.

    Args:
        text: The Markdown, which begins with its own heading.
        title: Of the page.
        links: Text -> address of files beside it.
    """
    from markdown_it import MarkdownIt

    shown = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    shown = shown.replace("<table>", SCROLLING).replace("</table>", "</table></div>")
    return render("markdown.html", title=title, links=links, content=Markup(shown))  # noqa: S704 - html: False


def write(file: Path, page: str) -> None:
    """Write a page; it appears whole or not at all."""
    write_text(file, page)


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
