"""What a sensor remembers survives a tick that Dagster did not store."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_assets.errors import LakeError
from ml_assets.graph.sensor_memory import Memory


def test_the_cursor_before_is_read_until_the_next_one_is_stored(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "parcels_new_data")
    first = memory.write('["v1", []]', None)
    second = memory.write('["v1", [["a.csv"]]]', first)
    assert memory.read(first) == '["v1", []]'  # the daemon was killed before it stored the second
    third = memory.write('["v1", [["b.csv"]]]', second)
    assert memory.read(second) == '["v1", [["a.csv"]]]'
    assert memory.read(first) is None
    assert len({first, second, third}) == 3
    assert len(list(memory.folder.iterdir())) == 2


def test_a_cursor_of_an_earlier_version_is_the_text_itself(tmp_path: Path) -> None:
    assert Memory(tmp_path).read('["v1", []]') == '["v1", []]'
    assert Memory(tmp_path).read('{"files": ""}') == '{"files": ""}'
    assert Memory(tmp_path).read(None) is None


def test_a_damaged_or_lost_file_is_no_memory(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    cursor = memory.write("[1]", None)
    (tmp_path / cursor).write_text("[2]")
    assert memory.read(cursor) is None
    assert memory.read("f" * 64) is None
    (tmp_path / "file").touch()
    with pytest.raises(LakeError, match="cannot be kept"):
        Memory(tmp_path / "file").write("[]", None)
