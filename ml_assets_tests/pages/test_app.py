"""The pages as requests and answers: what they say, who may decide, and what nobody can do."""

from __future__ import annotations

import http.client
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from benchmarks.lakes import Story, write
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.pages import app as pages
from ml_assets.server.keys import new_key, read_keys
from ml_assets.tables import decisions, versions
from ml_assets.tables.decisions import Decision
from ml_assets_tests.conftest import Project
from ml_assets_tests.pages.helpers import serving

KEY, LINE = new_key(["approve"], "ana")
PREDICT, OTHER_LINE = new_key(["predict"], "bob")
HOSTILE = "<script>alert(1)</script>"


class Client:
    """Asks one server."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.host = urlsplit(address).netloc

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            named["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, {name.lower(): value for name, value in answer.getheaders()}


@pytest.fixture(scope="module")
def paths(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A copy of the trained project, in which a version waits for approval."""
    root = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(trained.root, root)
    made = Paths(root, root / "data")
    with Lake(made.lake) as lake:
        waits = Decision("1.0.0", "pending", f"gates passed {HOSTILE}", [], "1.0.0", "sensor")
        decisions.record(lake, "loans", waits, Commit("loans/champion", "r"))
    return made


@pytest.fixture(scope="module")
def client(paths: Paths) -> Iterator[Client]:
    keys = read_keys(None, {"ML_ASSETS_API_KEYS": f"{LINE};{OTHER_LINE}"})
    with serving(paths, keys) as address:
        yield Client(address)


def test_home_says_what_needs_somebody(client: Client) -> None:
    status, text, headers = client.ask("/")
    assert status == 200
    assert "1 thing needs you" in text
    assert "ml-assets approve loans 1.0.0 --why ..." in text
    assert "script-src" not in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_the_quarantine_shows_the_rows(client: Client, paths: Paths) -> None:
    with Lake(paths.lake, read_only=True) as lake:
        held = lake.rows_by_batch("loans.quarantine")
    _, text, _ = client.ask("/pipelines/loans/quarantine")
    assert f"{sum(held.values())} rows broke a rule" in text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/pipelines/lones", 404, "lones"),
        ("/pipelines/lones/versions", 404, "lones"),
        ("/pipelines/loans/versions/9.9.9", 404, "9.9.9"),
        ("/pipelines/loans/batches/99", 404, "99"),
        ("/pipelines/loans/compare?a=1.0.0&b=2", 404, "no version"),
        (f"/pipelines/{HOSTILE}", 404, "&lt;script&gt;"),
        ("/nowhere", 404, "There is no such page"),
    ],
)
def test_what_is_not_there(client: Client, path: str, status: int, said: str) -> None:
    found, text, headers = client.ask(path.replace("<", "%3C").replace(">", "%3E").replace("/script", "%2Fscript"))
    assert found == status
    assert said in text or path.count("script")
    assert HOSTILE not in text
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_a_method_that_a_page_does_not_take(client: Client) -> None:
    status, text, headers = client.ask("/pipelines/loans/batches", "POST", "")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert "This page takes GET, HEAD, not POST." in text


def test_a_bug_is_a_page_too(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> str:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ml_assets.pages.views.Views.timeline", bug)
    status, text, headers = client.ask("/timeline")
    assert (status, "The server failed: ZeroDivisionError." in text) == (500, True)
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_a_report_may_show_itself_and_nothing_else(client: Client) -> None:
    status, text, headers = client.ask("/reports/loans/evaluation/1.0.0.html")
    assert status == 200
    assert "<title>" in text
    rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"  # connections, frames, workers, forms
    assert "allow-same-origin" not in rules["sandbox"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "loans",
        "loans/",
        "loans/evaluation",
        "../lake/catalog.sqlite",
        "%2e%2e/lake/catalog.sqlite",
        ".hidden",
        "a%00.html",
        f"{'a' * 300}.html",
    ],
    ids=lambda name: name[:30],
)
def test_there_is_no_listing_and_no_way_out_of_the_reports(client: Client, paths: Paths, name: str) -> None:
    (paths.reports / ".hidden").write_text("x")
    status, text, _ = client.ask(f"/reports/{name}")
    assert status == 404
    assert "evaluation" not in text


def test_a_foreign_page_or_name_is_refused(client: Client) -> None:
    assert client.ask("/", Host="evil.example")[0] == 403
    assert client.ask("/", Origin="http://evil.example")[0] == 403
    assert (
        client.ask("/reports/loans/evaluation/1.0.0.html", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0]
        == 403
    )
    form = urlencode({"key": KEY, "word": "reject", "why": "x", "by": "eve"})
    assert client.ask("/pipelines/loans/versions/1.0.0", "POST", form, Origin="http://evil.example")[0] == 403
    assert client.ask("/pipelines/loans/versions/1.0.0", "POST", form, Origin="null")[0] == 403


def test_deciding_needs_a_key_and_a_reason(client: Client, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "WRONG_KEY_S", 0)
    page = "/pipelines/loans/versions/1.0.0"
    form = {"key": KEY, "word": "approve", "why": "looks right", "by": "Ana"}

    def send(**changes: str) -> tuple[int, str]:
        status, text, _ = client.ask(page, "POST", urlencode({**form, **changes}), Origin=client.address)
        return status, text

    assert send(key="mla_wrong")[0] == 401
    status, text = send(key=" ")
    assert (status, "Enter a key" in text) == (401, True)
    status, text = send(why="x" * 30_000)
    assert (status, "shorten the reason" in text) == (413, True)
    assert send(key=PREDICT)[0] == 403  # another scope
    status, text = send(why=" ")
    assert status == 409
    assert "needs a reason" in text
    assert "waits for approval" in text
    with Lake(paths.lake, read_only=True) as lake:
        assert list(decisions.pending(lake, "loans")) == ["1.0.0"]
    assert send()[0] == 303
    with Lake(paths.lake, read_only=True) as lake:
        made = decisions.newest(lake, "loans")
        champion = versions.alias(lake, "loans", "champion")
    assert made is not None
    assert champion is not None
    assert (made.decision, made.why, made.decided_by, champion.version) == ("promoted", "looks right", "Ana", "1.0.0")
    assert send()[0] == 409  # it no longer waits
    assert "Nothing needs you" in client.ask("/")[1]


def test_before_there_is_a_lake_the_next_step_is_said(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    paths = Paths(tmp_path, tmp_path / "data")
    with serving(paths) as address:
        client = Client(address)
        assert "ml-assets init" in client.ask("/")[1]  # there is no lake yet
        status, text, _ = client.ask("/pipelines/loans/versions")
        assert status == 503
        assert "no lake yet" in text


def test_a_change_shows_at_once_and_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    paths = Paths(tmp_path, tmp_path / "data")
    with Lake(paths.lake) as lake:
        write(lake, Story("churn", 3))
    with serving(paths) as address:
        client = Client(address)
        assert "Nothing needs you" in client.ask("/")[1]
        with Lake(paths.lake) as lake:
            made = Decision("1.1.0", "pending", "wait", [], "1.0.1", "sensor")
            decisions.record(lake, "churn", made, Commit("churn/champion", "r"))
        assert "1 thing needs you" in client.ask("/")[1]
    kept = list((paths.data / "cache" / "pages").glob("*.overview"))
    assert len(kept) == 1
    kept[0].write_text("damaged")
    with serving(paths) as address:
        text = Client(address).ask("/")[1]
    assert "1 thing needs you" in text
    assert re.search(r"<svg[^>]*aria-label=\"live score of 3 batches", text)
