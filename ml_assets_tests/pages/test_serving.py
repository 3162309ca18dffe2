"""Where the pages are served is known as long as their server lives."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest

from ml_assets.pages.serving import FILE, announced, served_at
from ml_assets_tests.processes import eventually, killed, started


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:4001"),
        ("0.0.0.0", "http://127.0.0.1:4001"),
        ("::1", "http://[::1]:4001"),
    ],
)
def test_it_is_known_while_they_are_served(tmp_path: Path, host: str, address: str) -> None:
    assert served_at(tmp_path) is None
    with announced(tmp_path, host, 4001):
        assert served_at(tmp_path) == address
        with announced(tmp_path, "127.0.0.1", 5001):  # a second one of the same project
            assert served_at(tmp_path) == address
        assert served_at(tmp_path) == address
    assert served_at(tmp_path) is None


def test_a_server_that_was_killed_is_not_found(tmp_path: Path) -> None:
    process = started(_serve, tmp_path)
    eventually(lambda: served_at(tmp_path) == "http://127.0.0.1:4002")
    process.kill()
    assert killed(process)
    assert (tmp_path / FILE).read_text()
    assert served_at(tmp_path) is None


def _serve(data: Path) -> None:
    with announced(data, "127.0.0.1", 4002):
        time.sleep(60)


def test_pages_that_cannot_say_where_they_are_are_served_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ml_assets.pages.serving.os.write", full)
    with announced(tmp_path, "127.0.0.1", 3001):
        assert served_at(tmp_path) is None
