"""From values to a page: templates in which every value is text, and links that hold wherever the pages are served.

A link is relative to the page that it stands on, so that a proxy may serve the pages below any address. In pages that
are written as files it names the file; what is not written is no link.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from posixpath import relpath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ml_assets.escaping import as_written, visible
from ml_assets.pages import addresses, plots
from ml_assets.reporting.html import TEMPLATES as SHARED

TEMPLATES = Path(__file__).with_name("templates")
STYLE = "/style.css"
POLICY = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'"
NONE = "\N{EN DASH}"  # where there is no value
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Site:
    """Where the pages are shown.

    Args:
        project: Its name, in the title of each page.
        dagster: Address of Dagster's own pages; None where nobody knows it.
        written: Addresses of the pages that are files; None where they are served.
    """

    project: str
    dagster: str | None = None
    written: Collection[str] | None = None

    @property
    def is_served(self) -> bool:
        """May people decide on these pages? Files take nothing."""
        return self.written is None

    def href(self, at: str, to: str) -> str | None:
        """The link from one page to another; None where there is no such file.

        Args:
            at: Address of the page that the link stands on.
            to: Address that it leads to, or one of another server.
        """
        if "://" in to or to.startswith("#"):
            return to
        path, mark, query = to.partition("?")
        if self.written is None:
            return relpath(path, str(PurePosixPath(at).parent)) + mark + query
        here = file_of(at).parent
        if path.startswith("/reports/"):
            return relpath(f"/data{path}", f"/data/pages/{here}")
        return relpath(f"/{file_of(path)}", f"/{here}") if to in self.written or path == STYLE else None


def file_of(address: str) -> PurePosixPath:
    """The file of a page, relative to their folder."""
    if address == addresses.HOME:
        return PurePosixPath("index.html")
    name = address.strip("/")
    return PurePosixPath(name if address == STYLE else f"{name}.html")


def render(template: str, site: Site, at: str, **values: Any) -> str:
    """A page.

    Args:
        template: File in templates/.
        site: Where it is shown.
        at: Its address.
        values: What the template names.
    """

    def link(text: object, to: str, css: str = "") -> Markup:
        address = site.href(at, to)
        named = Markup(' class="{}"').format(css) if css else ""
        shown = text if hasattr(text, "__html__") else visible(str(text))
        if address is None:
            return Markup("<span{}>{}</span>").format(named, shown)
        return Markup('<a{} href="{}">{}</a>').format(named, address, shown)

    def href(to: str) -> str | None:
        return site.href(at, to)

    return _environment().get_template(template).render(site=site, at=at, link=link, href=href, **values)


@cache
def style() -> str:
    """The stylesheet of all pages."""
    return (SHARED / "style.css").read_text(encoding="utf-8") + (TEMPLATES / "pages.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader([TEMPLATES, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.globals |= {"address": addresses, "plots": plots, "policy": POLICY, "HOME": addresses.HOME}
    made.filters |= {
        "number": number,
        "count": count,
        "moment": moment,
        "ago": ago,
        "code": code,
        "percent": percent,
        "first_line": lambda text: visible(text).split("\n", 1)[0],
        "other_lines": lambda text: visible(text).partition("\n")[2],
        "listed": listed,
        "sentence": sentence,
        "size": size,
    }
    return made


def _shown(value: object) -> object:
    """What a value is shown as: nothing for None; control characters written out."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return as_written(value)
    return value if not isinstance(value, str) or hasattr(value, "__html__") else visible(value)


def number(value: float | None, digits: int = 4) -> str:
    """A score or share; a dash where there is none."""
    if value is None:
        return NONE
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A share."""
    return NONE if value is None else f"{value:.0%}"


def count(value: int | None) -> str:
    """A number of rows."""
    return NONE if value is None else f"{value:,}"


def moment(value: dt.datetime | None) -> Markup:
    """A moment, which a program can read too."""
    if value is None:
        return escape(NONE)
    return Markup('<time datetime="{}">{}</time>').format(f"{value:%Y-%m-%dT%H:%M:%SZ}", f"{value:%Y-%m-%d %H:%M}")


def ago(value: dt.datetime | None) -> Markup:
    """How long ago a moment is."""
    if value is None:
        return Markup("")
    seconds = (dt.datetime.now(dt.UTC).replace(tzinfo=None) - value).total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            many = int(seconds // length)
            text = f"{many} {unit}{'s' if many > 1 else ''} ago"
            break
    else:
        text = "just now"
    return Markup('<time datetime="{}">{}</time>').format(f"{value:%Y-%m-%dT%H:%M:%SZ}", text)


def code(text: str) -> Markup:
    """A text whose commands stand in backticks."""
    parts = CODE.split(visible(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)
    )


def listed(values: Iterable[object] | None) -> str:
    """Values with commas."""
    return ", ".join(visible(str(value)) for value in values or ())


def sentence(text: str) -> str:
    """A text as a sentence: its first word with a capital, unless it is a name."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def size(value: int | None) -> str:
    """Bytes for people."""
    if value is None:
        return NONE
    amount, units = float(value), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.0f} {units[0]}" if amount >= 10 or units[0] == "B" else f"{amount:.1f} {units[0]}"
