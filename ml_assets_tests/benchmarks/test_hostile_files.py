"""Each file of the generator becomes what it says, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.torture.feeding import fed
from benchmarks.torture.hostile_files import KINDS, hostile_files


def test_every_file_becomes_what_it_must(tmp_path: Path) -> None:
    seed, count = int(os.environ.get("HOSTILE_SEED", "3")), int(os.environ.get("HOSTILE_COUNT", str(2 * len(KINDS))))
    outcome = fed(tmp_path, seed, count)
    assert (outcome.tried, outcome.broken) == (count, [])


def test_a_seed_gives_the_same_files(tmp_path: Path) -> None:
    def content(name: str) -> list[tuple[str, str, bytes]]:
        made = hostile_files(5, tmp_path / name, 9)
        return [(f.what, f.must, f.path.read_bytes() if f.path.is_file() else b"") for f in made]

    assert content("one") == content("two")
