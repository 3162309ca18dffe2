"""Files that a source may hold but nobody would send on purpose, from a seed, each with what must become of it.

    for file in hostile_files(seed=7, folder=Path("data/incoming/meters"), count=200):
        ...

`SPEC` declares what they hold: readings of electricity meters. One file is one batch.
"""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Must = Literal["rejected", "ingested", "quarantined", "rejected or ingested"]
Row = tuple[int, float, str, str]

SPEC: dict[str, Any] = {
    "name": "meters",
    "source": {
        "path": "data/incoming/meters",
        "pattern": r"(?P<batch>[^/]+?)\.(csv|csv\.gz|parquet)",
        "settle_seconds": 0,
    },
    "columns": [
        {"name": "meter", "type": "integer"},
        {"name": "kwh", "type": "number", "min": 0},
        {"name": "site", "type": "string"},
        {"name": "read_at", "type": "timestamp"},
    ],
    "key": ["meter"],
    "tolerate": {"quarantined": 1.0},
    "target": {"name": "heavy", "sql": "kwh > 50", "kind": "binary"},
    "features": "features.sql",
    "candidates": {"tree": {"estimator": "sklearn.tree.DecisionTreeClassifier"}},
}
HEAD = "meter,kwh,site,read_at"
ODD = {  # column -> values that must not be read as something else
    0: ["1_000", "0x1F", "1.5", "9223372036854775808", "--4", "#9"],
    1: ["1e400", "-1e999", "inf", "-Infinity", "1,5", "1_0.5", "abc"],
    3: ["infinity", "epoch", "12024-01-01", "2024-02-30", "soon", "0000-01-01"],
}
ODD_IN_NAMES = "[]*?{}$%#&;!~^'\" üß日🙂=+@"


@dataclass(frozen=True)
class HostileFile:
    """One file.

    Args:
        path: Where it is; a name that is not UTF-8 has surrogates.
        what: What is wrong with it.
        must: rejected: as a file, with an error that names it; ingested: every row exactly; quarantined: every row
            exactly but `bad_row`; rejected or ingested: whichever, but nothing else.
        rows: What it holds: meter, kWh, site, time of reading (UTC).
        bad_row: Position of the row that must be in quarantine, from 1; 0 where there is none.
    """

    path: Path
    what: str
    must: Must
    rows: tuple[Row, ...] = ()
    bad_row: int = 0


def hostile_files(seed: int, folder: Path, count: int) -> list[HostileFile]:
    """Write `count` files into a folder; the same seed writes the same files.

    Args:
        seed: Of the random choices.
        folder: Made where missing.
        count: Number of files; every kind comes once in each round of `KINDS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    kinds: list[Kind] = []
    while len(kinds) < count:
        kinds += rng.sample(KINDS, len(KINDS))
    return [kind(rng, folder, f"{seed}-{number:04}") for number, kind in enumerate(kinds[:count])]


Kind = Callable[[random.Random, Path, str], HostileFile]


def _rows(rng: random.Random, name: str) -> tuple[Row, ...]:
    first = rng.randrange(1, 10**6)
    return tuple(
        (
            first + n,
            rng.randrange(10**5) / 100,
            rng.choice(["Nord", "Süd", f"Haus {name}"]),
            f"2024-03-{n % 28 + 1:02} 06:00:00",
        )
        for n in range(rng.randrange(2, 30))
    )


def _text(rows: tuple[Row, ...], end: str = "\n") -> str:
    return end.join([HEAD, *(",".join(map(str, row)) for row in rows)]) + end


def _parquet(rows: tuple[Row, ...]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    columns = dict(zip(HEAD.split(","), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _odd_name(rng: random.Random, folder: Path, name: str) -> HostileFile:
    """Beside it lies a file that its name matches as a pattern."""
    rows, odd = _rows(rng, name), "".join(rng.sample(ODD_IN_NAMES, 3))
    path = folder / f"{name}{odd}[1]*.csv"
    path.write_text(_text(rows))
    (folder / f"{name}{odd}1x.csv").write_text(_text(_rows(rng, name)))
    return HostileFile(path, "a name that is a pattern", "ingested", rows)


def _undecodable_name(rng: random.Random, folder: Path, name: str) -> HostileFile:
    odd = rng.choice([b"\xe9", b"\xff\xfe", b"\n", b"\x07", b"\xed\xa0\x80"])
    path = Path(os.fsdecode(os.fsencode(folder / name) + odd + b".csv"))
    path.write_text(_text(_rows(rng, name)))
    return HostileFile(path, f"a name with the bytes {odd!r}", "rejected")


def _link(rng: random.Random, folder: Path, name: str) -> HostileFile:
    path = folder / f"{name}.csv"
    path.symlink_to(rng.choice([path, folder / f"{name}-gone.csv"]))
    return HostileFile(path, "a link that leads nowhere", "rejected")


def _encoding(rng: random.Random, folder: Path, name: str) -> HostileFile:
    rows, path = (*_rows(rng, name), (7, 1.0, "Süd", "2024-01-01")), folder / f"{name}.csv"
    encoding = rng.choice(["latin-1", "utf-16", "utf-16-le", "utf-8-sig"])
    path.write_bytes(_text(rows).encode(encoding))
    if encoding == "utf-8-sig":
        return HostileFile(path, "UTF-8 with a byte order mark", "ingested", rows)
    return HostileFile(path, encoding, "rejected")


def _structure(rng: random.Random, folder: Path, name: str) -> HostileFile:
    rows, path = _rows(rng, name), folder / f"{name}.csv"
    lines = _text(rows).splitlines()
    at = rng.randrange(1, len(lines))
    what, text = rng.choice(
        [
            ("a line with a column more", "\n".join([*lines[:at], lines[at] + ",1", *lines[at + 1 :]]) + "\n"),
            ("a header and no rows", lines[0] + "\n"),
            ("nothing at all", ""),
            ("another header", "\n".join(["a,b,c,d", *lines[1:]]) + "\n"),
            (
                "a column of our own name",
                "\n".join([lines[0] + ",reasons", *(line + ",x" for line in lines[1:])]) + "\n",
            ),
            ("a column named as the target", "\n".join([lines[0] + ",HEAVY", *(line + ",1" for line in lines[1:])])),
        ]
    )
    path.write_text(text)
    return HostileFile(path, what, "rejected")


def _cut(rng: random.Random, folder: Path, name: str) -> HostileFile:
    rows = _rows(rng, name)
    suffix, data = rng.choice([("csv.gz", gzip.compress(_text(rows).encode(), mtime=0)), ("parquet", _parquet(rows))])
    path = folder / f"{name}.{suffix}"
    path.write_bytes(data[: rng.randrange(1, len(data))])
    return HostileFile(path, f"a cut {suffix} file", "rejected")


def _flipped_bit(rng: random.Random, folder: Path, name: str) -> HostileFile:
    """Of .gz; no checksum guards the values of Parquet and of plain text."""
    rows, path = _rows(rng, name), folder / f"{name}.csv.gz"
    data = bytearray(gzip.compress(_text(rows).encode(), mtime=0))
    bit = rng.randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return HostileFile(path, f"bit {bit} of a .gz flipped", "rejected or ingested", rows)


def _odd_value(rng: random.Random, folder: Path, name: str) -> HostileFile:
    rows, path = _rows(rng, name), folder / f"{name}.csv"
    at, column = rng.randrange(len(rows)), rng.choice(list(ODD))
    value = rng.choice(ODD[column])
    cells = [[str(cell) for cell in row] for row in rows]
    cells[at][column] = f'"{value}"'
    path.write_text("\n".join([HEAD, *(",".join(row) for row in cells)]) + "\n")
    return HostileFile(path, f"{value} as {HEAD.split(',')[column]}", "quarantined", rows, at + 1)


def _odd_format(rng: random.Random, folder: Path, name: str) -> HostileFile:
    """Unusual, but right: every row must be read."""
    rows, path = _rows(rng, name), folder / f"{name}.csv"
    text = _text(rows)
    what, text = rng.choice(
        [
            ("lines that end with CR LF", _text(rows, "\r\n")),
            ("semicolons", text.replace(",", ";")),
            ("an offset of the time", text.replace(" 06:00:00", "T08:00:00+02:00")),
            ("no last line end", text.rstrip("\n")),
            ("quoted values", "\n".join([HEAD, *(",".join(f'"{cell}"' for cell in row) for row in rows)]) + "\n"),
            (
                "columns in another order",
                "\n".join(",".join(line.split(",")[::-1]) for line in text.splitlines()) + "\n",
            ),
        ]
    )
    path.write_text(text, newline="")
    return HostileFile(path, what, "ingested", rows)


KINDS: list[Kind] = [
    _odd_name,
    _undecodable_name,
    _link,
    _encoding,
    _structure,
    _cut,
    _flipped_bit,
    _odd_value,
    _odd_format,
]
