"""A lock file is neither followed nor cut: it is no way to overwrite another file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml_assets.errors import LakeBusy, LakeError
from ml_assets.lake.locks import exclusive
from ml_assets.lake.paths import private_folder


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "diary").write_text("precious")
    (tmp_path / "x.lock").symlink_to(tmp_path / "diary")
    with pytest.raises(LakeError, match="cannot be opened") as caught, exclusive(tmp_path / "x.lock", 1, "testing"):
        pass
    assert "Remove the symbolic link" in str(caught.value)
    assert (tmp_path / "diary").read_text() == "precious"


def test_another_file_in_its_place_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text("precious")
    with pytest.raises(LakeError, match="something else"), exclusive(tmp_path / "x.lock", 1, "testing"):
        pass
    assert (tmp_path / "x.lock").read_text() == "precious"


def test_the_holder_is_named_and_then_let_in(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.lock"
    with exclusive(file, 1, "testing"):
        with pytest.raises(LakeBusy, match=f"process {os.getpid()}"), exclusive(file, 0, "testing"):
            pass
        assert file.read_text().strip() == str(os.getpid())
    file.write_text("4194304")  # longer than most ids: nothing of it stays
    with exclusive(file, 0, "testing"):
        assert file.read_text().strip() == str(os.getpid())


def test_folders_of_logs_are_for_their_owner(tmp_path: Path) -> None:
    assert private_folder(tmp_path / "data/logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0o777 & ~os_umask() & 0o077
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o750)
    assert private_folder(tmp_path / "shared").stat().st_mode & 0o777 == 0o750


def os_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
