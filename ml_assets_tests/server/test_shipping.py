"""The log on its way to pipelines elsewhere: what is closed is put once, what is open or cannot be put stays."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from ml_assets.errors import LakeError
from ml_assets.lake.artifacts import Artifacts, FolderArtifacts, UrlArtifacts
from ml_assets.ml.log_records import Feedback, lines
from ml_assets.server import shipping
from ml_assets.server.prediction_log import PredictionLog
from ml_assets.server.shipping import Shipper, ship
from ml_assets_tests.conftest import wait_until
from ml_assets_tests.server.test_prediction_log import feedback


@pytest.fixture(params=["folder", "url"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "folder":
        return FolderArtifacts(tmp_path / "store")
    return UrlArtifacts(f"file://{tmp_path}/store", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "serving"


def written(folder: Path, *names: str) -> None:
    with contextlib.closing(PredictionLog(folder, "a", segment_bytes=1)) as log:
        for name in names:
            log.write("loans", [feedback(name)])


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def ids(folder: Path) -> list[str]:
    found = [line.record for file in files(folder) for line in lines((folder / file).read_bytes())]
    return sorted(record.id for record in found if isinstance(record, Feedback))


def test_closed_segments_are_put_under_their_names_and_open_ones_stay(
    store: Artifacts, folder: Path, tmp_path: Path
) -> None:
    written(folder, "1", "2")
    closed = files(folder)
    with contextlib.closing(PredictionLog(folder, "b")) as log:
        log.write("loans", [feedback("3")])
        assert ship(folder, store) == 2
        assert ship(folder, store) == 0
        assert files(tmp_path / "store") == closed
        assert ids(folder) == ["3"]
    assert ship(folder, store) == 1
    assert ids(tmp_path / "store") == ["1", "2", "3"]
    assert list((folder / "loans").iterdir()) == []


def test_killed_after_a_put_the_next_one_puts_the_same(
    store: Artifacts, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(folder, "1", "2")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", _killed)
        with pytest.raises(KeyboardInterrupt):
            ship(folder, store)
    before = files(tmp_path / "store")
    assert len(before) == 1
    assert ids(folder) == ["1", "2"]
    assert ship(folder, store) == 2
    assert set(before) < set(files(tmp_path / "store"))
    assert ids(tmp_path / "store") == ["1", "2"]


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_while_the_place_is_away_the_log_stays_and_is_shipped_later(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shipping, "CHECK_S", 0.02)
    store = FolderArtifacts(tmp_path / "store")
    store.folder.touch()  # no folder can be made there
    written(folder, "1")
    with pytest.raises(LakeError):
        ship(folder, store)
    with contextlib.closing(Shipper(folder, store)):
        written(folder, "2")
        wait_until(lambda: "stays in" in caplog.text, 10, "an attempt", every_s=0.02)
        assert ids(folder) == ["1", "2"]
        store.folder.unlink()
        wait_until(lambda: not files(folder), 10, "all is shipped", every_s=0.02)
    assert ids(store.folder) == ["1", "2"]


def test_a_full_disk_does_not_keep_the_log_from_leaving_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(folder, "1")
    monkeypatch.setattr(shipping, "shutil", SimpleNamespace(copyfile=_full))
    assert ship(folder, UrlArtifacts(f"file://{tmp_path}/store", tmp_path / "cache")) == 1
    assert ids(tmp_path / "store") == ["1"]


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_another_disk_gets_a_copy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder, "1")
    monkeypatch.setattr(shipping.os, "link", _full)
    assert ship(folder, FolderArtifacts(tmp_path / "store")) == 1
    assert ids(tmp_path / "store") == ["1"]


def test_what_is_written_last_is_shipped_at_the_end(folder: Path, tmp_path: Path) -> None:
    shipper, log = Shipper(folder, FolderArtifacts(tmp_path / "store")), PredictionLog(folder, "a")
    log.write("loans", [feedback("1")])
    log.close()
    shipper.close()
    assert ids(tmp_path / "store") == ["1"]


def test_an_open_segment_is_closed_when_its_time_is_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.server.prediction_log.SYNC_S", 0.01)
    store = FolderArtifacts(tmp_path / "store")
    with contextlib.closing(PredictionLog(folder, "a", segment_s=0.05)) as log:
        log.write("loans", [feedback("1")])
        wait_until(lambda: ship(folder, store) == 1, 10, "the segment is closed", every_s=0.01)
        log.write("loans", [feedback("2")])
    assert ids(folder) == ["2"]
