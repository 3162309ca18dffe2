"""Text from data and addresses, made safe for the place where it is shown: a terminal, Markdown, a page, a chat.

Belongs here: what every writer of such a text calls. Does not: HTML reports (`reporting/html.py`), whose templates
escape every value.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import urlsplit

URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)(\S+)")
# Characters that turn the direction of the text after them: a name could then read as another one.
TURNS_DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
MARKDOWN = re.compile(r"([\\`*\[\]|])")
SCRIPT_DATA = re.compile(r"\s*var (additional_graphs_)?\w+ = [\[{].*;")
HEAD_ENDS = "</head>"


def visible(text: str) -> str:
    """The text with control characters written out, such as `\\x1b`: a terminal obeys none of them.

    Line breaks and tabs stay.
    """
    return "".join(_shown(character) for character in text) if not text.isprintable() else text


def _shown(character: str) -> str:
    is_control = unicodedata.category(character) == "Cc" and character not in "\n\t"
    if is_control or character in TURNS_DIRECTION:
        return character.encode("unicode_escape").decode("ascii")
    return character


def as_written(value: object) -> str:
    """A value of data or settings as files have it: true, null and 2024-01-31, in the place of Python's own words."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_written(name)}: {as_written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_written, value)) + "]"
    return str(value)


def quoted(value: object) -> str:
    """The same inside a sentence: text in quotes."""
    return repr(value) if isinstance(value, str) else as_written(value)


def one_line(text: str) -> str:
    """The text in one line, with control characters written out."""
    return visible(" ".join(text.split("\n")).replace("\r", " "))


class Marked(str):
    """Text that is Markdown already: `markdown` leaves it as it is."""


def markdown(text: str) -> str:
    """Text inside Markdown, such as a table's cell: no link, image, code or HTML begins in it."""
    if isinstance(text, Marked):
        return text
    plain = MARKDOWN.sub(r"\\\1", one_line(text))
    return plain.replace("&", "&amp;").replace("<", "&lt;")


def slack(text: str) -> str:
    """Text inside Slack's markup: the three characters that it reads, so that no `<!channel>` is one."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def script_data(page: str) -> str:
    """A page of Evidently whose inline data cannot end its script.

    Evidently writes its data into the head as lines of JavaScript, each a variable with JSON, and leaves `</script>` in
    a value as it is. JSON has no line breaks of its own, so that a line is one variable, whatever its values are.

    Raises:
        ValueError: The page has no such lines: Evidently writes another layout, which this function does not know.
    """
    lines = page.split("\n")
    head = next((number for number, line in enumerate(lines) if line.strip() == HEAD_ENDS), 0)
    data = [number for number in range(head) if SCRIPT_DATA.fullmatch(lines[number])]
    if len(data) != 2:
        raise ValueError(f"a page of Evidently with {len(data)} lines of data in its head, not 2")
    for number in data:
        lines[number] = lines[number].replace("<", "\\u003c")
    return "\n".join(lines)


def host_of(url: str) -> str:
    """Scheme and host of an address: all of a webhook's that may be shown."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.hostname:
            return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    return "an address that cannot be read"


def without_secrets(text: str, *addresses: str | None) -> str:
    """A text without these addresses, and without user, password and query of any other.

    Args:
        text: What is to be shown.
        addresses: Addresses that are secrets as a whole, such as a webhook's; their host is left.
    """
    for address in addresses:
        if address:
            text = text.replace(address, host_of(address))
    logins = {login for _, rest in URL.findall(text) if ":" in (login := _login(rest))}
    text = URL.sub(_public, text)
    for login in logins:  # libraries name it on its own, too
        text = text.replace(login, "")
    return text


def _login(rest: str) -> str:
    """User and password of an address, from after its scheme up to their `@`."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return authority[: authority.rindex("@") + 1]
    if "@" in rest and not re.fullmatch(r"[^:]*(:\d*)?|\[.*\](:\d*)?", authority):  # a password with a slash in it
        return rest[: rest.rindex("@") + 1]
    return ""


def _public(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    rest, end = re.fullmatch(r"(.*?)([)\]>'\"`,.;]*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    path, query, _ = rest.removeprefix(_login(rest)).partition("?")
    return f"{scheme}{path}{'?...' if query else ''}{end}"
