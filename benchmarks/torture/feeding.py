"""The files of `hostile_files` are offered to a pipeline, and each becomes what it must, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.torture.hostile_files import SPEC, HostileFile, hostile_files
from benchmarks.torture.outcome import Outcome
from ml_assets.errors import SourceError
from ml_assets.graph.ingest import reading, validation
from ml_assets.graph.ingest.arrivals import Superseded, scan_source
from ml_assets.graph.ingest.files import Arrival, deliver, place_of
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.spec import PipelineSpec


def fed(folder: Path, seed: int, count: int) -> Outcome:
    """Write that many files, and ingest each."""
    result = Outcome(
        "files with hostile names, encodings, cuts, flipped bits, odd values", "rejected, quarantined or exact"
    )
    spec, paths = PipelineSpec.model_validate(SPEC), Paths(folder, folder / "data")
    made = hostile_files(seed, folder / SPEC["source"]["path"], count)
    found = {arrival.path: arrival for arrival in scan_source(spec, place_of(spec, paths), {})}
    with Lake(folder / "lake") as lake:
        for file in made:
            shown = os.fsencode(file.path).decode("utf-8", "backslashreplace")
            arrival = found[shown.replace("\n", "\\n").replace("\x07", "\\x07")]
            word, valid, held = became(lake, spec, paths, arrival)
            is_exact = word == "rejected" or (valid == expected(file) and held == [file.bad_row] * bool(file.bad_row))
            right = word in file.must.split(" or ") and is_exact
            result.expect(right, f"{file.what}: must be {file.must}, became {word} ({arrival.error}, {held})")
    return result


ROWS = "SELECT meter, kwh, site, strftime(read_at, '%Y-%m-%d %H:%M:%S') FROM {} ORDER BY row_id"


def became(lake: Lake, spec: PipelineSpec, paths: Paths, arrival: Arrival) -> tuple[str, list[object], list[int]]:
    """What becomes of a file: a word, the rows that are valid, and the positions of those in quarantine."""
    if arrival.status == "duplicate":  # two files of nothing but the header
        return "rejected", [], []
    if arrival.status != "ready":
        is_named = arrival.path.rpartition("/")[2] in str(arrival.error)
        return "rejected" if is_named else "rejected without its name", [], []
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
