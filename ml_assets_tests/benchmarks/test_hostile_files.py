"""Each file of the generator becomes what it says, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.torture.hostile_files import KINDS, SPEC, HostileFile, hostile_files
from ml_assets.errors import SourceError
from ml_assets.graph.ingest import reading, validation
from ml_assets.graph.ingest.arrivals import Superseded, take_stock
from ml_assets.graph.ingest.files import Arrival, deliver, place_of
from ml_assets.spec import PipelineSpec
from ml_assets.store.lake import Commit, Lake
from ml_assets.store.paths import Paths

ROWS = "SELECT meter, kwh, site, strftime(read_at, '%Y-%m-%d %H:%M:%S') FROM {} ORDER BY row_id"


def outcome(lake: Lake, spec: PipelineSpec, paths: Paths, arrival: Arrival) -> tuple[str, list[object], list[int]]:
    """What becomes of a file: a word, the rows that are valid, and the positions of those in quarantine."""
    if arrival.status == "duplicate":  # two files of nothing but the header
        return "rejected", [], []
    if arrival.status != "ready":
        assert arrival.path.rpartition("/")[2] in str(arrival.error)
        return "rejected", [], []
    delivery, batch = deliver(place_of(spec, paths), [arrival]), str(arrival.batch)
    try:
        reading.write_batch(lake, spec, batch, delivery, Superseded([], []), Commit("meters/raw_data", batch=batch))
    except SourceError as error:
        return ("rejected" if arrival.path in str(error) else f"rejected without its name: {error}"), [], []
    validation.check_batch(lake, spec, batch)
    valid = lake.con.execute(ROWS.format("_valid_batch")).fetchall()
    held = [row for (row,) in lake.con.execute("SELECT row_id FROM _broken_batch ORDER BY 1").fetchall()]
    return "quarantined" if held else "ingested", valid, held


def expected(file: HostileFile) -> list[object]:
    full = [(*row[:3], row[3] if len(row[3]) > 10 else f"{row[3]} 00:00:00") for row in file.rows]
    return [row for number, row in enumerate(full, 1) if number != file.bad_row]


def test_every_file_becomes_what_it_must(tmp_path: Path, lake: Lake) -> None:
    spec, paths = PipelineSpec.model_validate(SPEC), Paths(tmp_path, tmp_path / "data")
    seed, count = int(os.environ.get("HOSTILE_SEED", "3")), int(os.environ.get("HOSTILE_COUNT", str(2 * len(KINDS))))
    made = hostile_files(seed, tmp_path / SPEC["source"]["path"], count)
    found = take_stock(spec, place_of(spec, paths), {})
    wrong = []
    for file in made:
        shown = os.fsencode(file.path).decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\x07", "\\x07")
        (arrival,) = [one for one in found if one.path == shown]
        word, valid, held = outcome(lake, spec, paths, arrival)
        right = file.must.split(" or ")
        is_exact = word == "rejected" or (valid == expected(file) and held == [file.bad_row] * bool(file.bad_row))
        if word not in right or not is_exact:
            wrong.append((file.what, file.must, word, arrival.error, held))
    assert wrong == []


def test_a_seed_gives_the_same_files(tmp_path: Path) -> None:
    def content(name: str) -> list[tuple[str, str, bytes]]:
        made = hostile_files(5, tmp_path / name, 9)
        return [(f.what, f.must, f.path.read_bytes() if f.path.is_file() else b"") for f in made]

    assert content("one") == content("two")
