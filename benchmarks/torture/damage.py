"""Files of the lake that are lost, cut or changed: a read gives what was written, or an error that says so."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from benchmarks.torture.outcome import Outcome
from ml_assets.errors import MLAssetsError
from ml_assets.lake.lake import Commit, Lake, Put

TABLE, ROWS = "works.parts", 2_000
QUERY = f"SELECT count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM lake.{TABLE} t"


def damaged_lake(folder: Path, seed: int, times: int) -> Outcome:
    """One file at a time is removed, emptied, cut or has a bit flipped, the catalog and its copy among them."""
    outcome = Outcome(
        "a file of the lake is removed, emptied, cut, or has a bit flipped",
        "reads give what was written, or an error that says what to do; a write never begins a new lake",
    )
    numbers, sound = random.Random(seed), folder / "sound"
    with Lake(sound) as lake:
        for batch in ("1", "2"):
            _write(lake, batch)
        truth = _truth(lake)
    unseen = 0
    for number in range(times):
        lake_folder = folder / f"damaged_{number}"
        shutil.copytree(sound, lake_folder)
        what = _damage(lake_folder, numbers)
        problem = _read(lake_folder, truth)
        if problem == "other rows" and what.startswith("flip") and what.endswith(".parquet"):
            unseen, problem = unseen + 1, ""  # no checksums in Parquet's pages: docs/explanation/reliability.md
        outcome.expect(not problem, f"{what}: {problem}")
        outcome.expect(not (problem := _write_again(lake_folder, truth)), f"write after {what}: {problem}")
        shutil.rmtree(lake_folder)
    outcome.notes = f"{unseen} flipped bits in Parquet went unseen: its pages have no checksums"
    return outcome


def _write(lake: Lake, batch: str) -> None:
    lake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE parts AS "
        f"SELECT '{batch}' AS batch, range AS row_id, md5(range::VARCHAR) AS part FROM range({ROWS})"
    )
    lake.replace([Put(TABLE, "parts", batch)], Commit("works/parts", batch=batch))


def _truth(lake: Lake) -> tuple[object, ...]:
    """Number and hash of all rows."""
    return tuple(lake.rows(QUERY)[0].values())


def _damage(lake: Path, numbers: random.Random) -> str:
    """Damage one file; returns what was done to which."""
    files = sorted(path for path in lake.rglob("*") if path.is_file() and path.suffix in (".parquet", ".sqlite"))
    file, how = numbers.choice(files), numbers.choice(["remove", "empty", "cut", "flip"])
    content = bytearray(file.read_bytes())
    if how == "remove":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "cut":
        file.write_bytes(content[: numbers.randrange(len(content))])
    else:
        content[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
        file.write_bytes(content)
    return f"{how} {file.name if file.suffix == '.sqlite' else 'a .parquet'}"


def _read(folder: Path, truth: tuple[object, ...]) -> str:
    """What is wrong with a read; empty where it is right, or refused in words."""
    try:
        with Lake(folder, read_only=True) as lake:
            found = _truth(lake)
    except MLAssetsError as error:
        return "" if error.fix else f"an error without a next step: {error}"
    except Exception as error:
        return f"a raw {type(error).__name__}: {str(error)[:200]}"
    return "" if found == truth else "other rows"


def _write_again(folder: Path, truth: tuple[object, ...]) -> str:
    """What is wrong after batch 1 was written once more: the lake is whole again, or the write was refused."""
    before = list((folder / "data").rglob("*.parquet"))
    try:
        with Lake(folder) as lake:
            _write(lake, "1")
            rows = lake.count(TABLE)
    except MLAssetsError as error:
        return "" if error.fix else f"an error without a next step: {error}"
    except Exception as error:
        return f"a raw {type(error).__name__}: {str(error)[:200]}"
    if rows not in (truth[0],):
        return f"{rows} rows in place of {truth[0]}"
    return "" if before else "a new lake was begun"
