"""Text from data is shown as text: by terminals, Markdown, pages and chats; addresses show no secret."""

from __future__ import annotations

import datetime as dt
import io
from html.parser import HTMLParser

import pandas as pd
import pytest
from jinja2 import UndefinedError
from rich.table import Table

from ml_assets.cli.group import SafeConsole
from ml_assets.errors import SourceError
from ml_assets.escaping import (
    Marked,
    as_written,
    host_of,
    markdown,
    one_line,
    quoted,
    script_data,
    slack,
    visible,
    without_secrets,
)
from ml_assets.reporting import html
from ml_assets.reporting.markdown import markdown_table
from ml_assets.reporting.plots import Figure

TEMPLATE, QUOTES = "{{7*7}}{% set x = 1 %}", "\" onload=\"alert(1)' onerror='alert(1)"
HOSTILE = "</script><script>fetch('//evil')</script><!--<b>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("over\rwritten", "over\\rwritten"),
        ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
        ("naïve 北京 😀", "naïve 北京 😀"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_one_line_has_no_line_break() -> None:
    assert one_line("a\nb\r\nc\x00") == "a b  c\\x00"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("![x](http://evil/pixel)", "!\\[x\\](http://evil/pixel)"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"),
        ("`code` and \\", "\\`code\\` and \\\\"),
        ("two\nlines", "two lines"),
        ("dep_delay & more", "dep_delay &amp; more"),
    ],
)
def test_markdown_of_data_is_text(text: str, shown: str) -> None:
    assert markdown(text) == shown
    assert markdown_table([{"value": text}]).splitlines()[-1] == f"| {shown} |"


def test_markdown_that_is_meant_stays() -> None:
    assert markdown(Marked("`sha256`")) == "`sha256`"


def test_slack_reads_no_command_in_data() -> None:
    assert slack("carrier <!channel> & <@U1>") == "carrier &lt;!channel&gt; &amp; &lt;@U1&gt;"


@pytest.mark.parametrize("value", ["[/b]", "[red]not red", ":warning:", "[link=http://evil]x[/link]"])
def test_a_terminal_shows_markup_in_data_as_it_is(value: str) -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, force_terminal=True, color_system="standard", width=80)
    table = Table(title=value)
    table.add_column("reasons")
    table.add_row(value)
    console.print(table)
    console.print(f"problem: {value}\x1b[2J")
    assert out.getvalue().count(value) == 3
    assert "\x1b[2J" not in out.getvalue()
    assert "\\x1b[2J" in out.getvalue()


class _Page(HTMLParser):
    """What a browser sees: scripts, the names of all elements, their attributes, and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, list[str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, [name for name, _ in attrs]))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def evidently_pages() -> tuple[str, str]:
    """Evidently's page of a harmless and of a hostile category."""
    from ml_assets.ml.drift_measures import quiet

    with quiet():
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        def page(value: str) -> str:
            frames = [pd.DataFrame({"airline": [value, "BB"] * n}) for n in (20, 30)]
            definition = DataDefinition(categorical_columns=["airline"])
            data = [Dataset.from_pandas(frame, definition) for frame in frames]
            return str(Report([ValueDrift(column="airline")]).run(*data).get_html_str(as_iframe=False))

        return page("AA"), page(HOSTILE)


def test_a_category_cannot_become_a_script_of_evidentlys_page(evidently_pages: tuple[str, str]) -> None:
    harmless, hostile = evidently_pages
    assert "</script><script>fetch" in hostile  # as Evidently leaves it
    sealed = html.sealed(hostile)
    before, after = _Page(harmless), _Page(sealed)
    assert after.tags.count("script") == before.tags.count("script")
    assert not any(script.startswith("fetch('//evil')") for script in after.scripts)
    assert "\\u003c/script>" in sealed
    policy = sealed.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == after.tags.count("script")


def test_a_page_in_another_layout_is_not_taken_for_safe() -> None:
    with pytest.raises(ValueError, match="0 lines of data"):
        script_data("<html>\n<head>\n<script>\n  let data = {};\n</script>\n</head></html>")


def test_our_own_reports_run_no_script_at_all() -> None:
    shown = html.ReportTable(["x", HOSTILE], [[HOSTILE, TEMPLATE]])
    plot = Figure(HOSTILE, b"png", TEMPLATE)
    page = html.render(
        "replay.html",
        title=HOSTILE,
        description=[HOSTILE],
        conclusions=[TEMPLATE],
        numbers=[html.Tile(HOSTILE, HOSTILE, TEMPLATE)],
        scores_plot=plot,
        scores=shown,
        cost_plot=plot,
        trainings=shown,
        method=[QUOTES],
    )
    seen = _Page(page)
    assert "script" not in seen.tags
    assert "default-src 'none'" in page
    assert "script-src" not in page
    assert {HOSTILE, TEMPLATE, QUOTES} <= {*seen.texts}  # as they are, markup of any kind included
    assert not [name for _, names in seen.attributes for name in names if name.startswith("on")]


def test_a_template_does_not_show_what_it_was_not_given() -> None:
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        html.render("replay.html")


def test_nothing_of_a_webhook_but_its_host_is_shown() -> None:
    url = "https://me:word@hooks.example.org:8443/services/T0/s3cret?token=1"
    assert host_of(url) == "https://hooks.example.org:8443"
    assert host_of("nonsense") == "an address that cannot be read"
    text = without_secrets(f"no answer of {url}, nor of s3://key:word@bucket/models", url, None)
    assert text == "no answer of https://hooks.example.org:8443, nor of s3://bucket/models"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sftp://user:p@ss@host/in", "sftp://host/in"),
        ("ftp://user:p/ss@host/in", "ftp://host/in"),
        ("ftp://user:p?s#s@host/in", "ftp://host/in"),
        ("https://host/in?token=abc&x=1", "https://host/in?..."),
        ("'https://host/in?token=abc'", "'https://host/in?...'"),
        ("postgresql://me:s'ecret@db:5432/lake", "postgresql://db:5432/lake"),
        ("s3://bucket/images@2x/a.csv", "s3://bucket/images@2x/a.csv"),
        ("http://127.0.0.1:3000/runs", "http://127.0.0.1:3000/runs"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("/data/user:p@ss/in.csv", "/data/user:p@ss/in.csv"),
    ],
)
def test_an_address_shows_no_user_password_or_query(address: str, shown: str) -> None:
    assert without_secrets(f"read {address} twice") == f"read {shown} twice"


def test_a_login_that_a_library_names_on_its_own_is_not_shown_either() -> None:
    error = SourceError(
        "It is away.", found='bad bucket name "key:word@bucket"', where={"url": "s3://key:word@bucket/x"}
    )
    assert "word" not in str(error)
    assert 'bad bucket name "bucket"' in str(error)


def test_an_error_shows_no_secret_and_no_control_character() -> None:
    error = SourceError("It is away.", found="\x1b[31mred", where={"url": "sftp://user:p@ss@host/in?sig=1"})
    assert str(error) == "It is away.\n  found: \\x1b[31mred\n  where: url sftp://host/in?..."


def test_values_are_shown_as_files_have_them() -> None:
    value = {"early_stopping": True, "max_depth": None, "from": dt.date(2024, 1, 31), "layers": [8, "wide"]}
    assert as_written(value) == "{early_stopping: true, max_depth: null, from: 2024-01-31, layers: [8, wide]}"
    assert quoted("8") == "'8'"
