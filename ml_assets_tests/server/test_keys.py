"""API keys: what a header allows, and which lines a server takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ml_assets.cli import main
from ml_assets.errors import ServingError
from ml_assets.server.keys import ENV_KEYS, Keys, check_address, new_key, read_keys
from ml_assets.server.problems import Problem


def test_a_key_allows_its_scopes_and_nothing_else(tmp_path: Path) -> None:
    secret, line = new_key(["predict", "feedback"], "gateway")
    admin, other = new_key(["admin"], "")
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{line}\n")
    keys = read_keys(file, {ENV_KEYS: f"{other};"})
    assert secret not in line
    keys.check(f"Bearer {secret}", "predict")
    keys.check(f"bearer {secret}", None)
    keys.check(f"Bearer {admin}", "admin")
    for header, scope, status in (
        (f"Bearer {secret}", "admin", 403),
        (f"Bearer {secret}x", "predict", 401),
        (f"Basic {secret}", "predict", 401),
        ("Bearer ", "predict", 401),
        ("Bearer \xe9", "predict", 401),
        (None, None, 401),
    ):
        with pytest.raises(Problem) as caught:
            keys.check(header, scope)
        assert caught.value.status == status
        assert secret not in caught.value.detail
    Keys().check(None, "admin")


@pytest.mark.parametrize("line", ["mine", "a" * 64, "a" * 64 + " reading", "g" * 64 + " predict"])
def test_a_line_that_is_none_is_refused_without_its_digest(line: str) -> None:
    with pytest.raises(ServingError, match="A key's line") as caught:
        read_keys(None, {ENV_KEYS: line})
    assert "a" * 64 not in str(caught.value)


def test_other_machines_need_a_key(tmp_path: Path) -> None:
    _, line = new_key(["predict"], "")
    check_address("127.0.0.1", Keys(), is_insecure=False)
    check_address("0.0.0.0", Keys(), is_insecure=True)
    check_address("0.0.0.0", read_keys(None, {ENV_KEYS: line}), is_insecure=False)
    with pytest.raises(ServingError, match="lets other machines in"):
        check_address("0.0.0.0", Keys(), is_insecure=False)
    for text in ("", None):
        file = tmp_path / "empty"
        if text is not None:
            file.write_text(text)
        with pytest.raises(ServingError, match="keys"):
            read_keys(file, {})
        file.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "host", [None, "localhost", "LOCALHOST:80", "127.0.0.1:8000", "127.3.2.1", "[::1]:8000", "[::1]"]
)
def test_this_machine_may_ask_without_a_key(host: str | None) -> None:
    Keys(is_local=True).check_host(host)


@pytest.mark.parametrize("host", ["rebound.example:8000", "127.0.0.1.example", "localhost.example", "[::2]", " "])
def test_a_name_that_resolves_to_this_machine_may_not(host: str) -> None:
    Keys().check_host(host)
    with pytest.raises(Problem) as caught:
        Keys(is_local=True).check_host(host)
    assert (caught.value.status, "Host header" in caught.value.detail) == (403, True)


@pytest.mark.parametrize("name", ["ana; eve", "ana\neve"])
def test_a_name_that_would_end_its_line_is_refused(name: str) -> None:
    found = CliRunner().invoke(main, ["key", "--name", name])
    assert (found.exit_code, "neither ; nor a line break" in found.output) == (2, True)
