"""Releases that somebody changed: every file flipped, cut, removed, replaced and linked; and folders that were made to
do harm and have a manifest to match.

`plain` leaves the manifest as it was: every change must be refused, by the name of the file. `forged` writes a manifest
to match, as one would who hands a folder over: what is dangerous must be refused without a digest, and everything with.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.torture.server_attacks import Row
from ml_assets.errors import MLAssetsError
from ml_assets.ml import manifest
from ml_assets.server.scorer import Scorer

CANARY = "canary"  # a file beside the release that a forged SELECT would write
Change = Callable[[Path], None]


@dataclass(frozen=True)
class Tampering:
    """One way to change a release.

    Args:
        name: What is changed.
        word: What the refusal must name.
        change: Changes a copy of the release.
        is_forged: Is the manifest made to match?
    """

    name: str
    word: str
    change: Change
    is_forged: bool = False


def tamperings(release: Path, seed: int = 0) -> Iterator[Tampering]:
    """All of them, for a release with a features SELECT and an ONNX graph; the same for the same seed."""
    yield from _plain(release, random.Random(seed))
    yield from forgeries()


def refusal(release: Path, tampering: Tampering, folder: Path, with_digest: bool = False) -> str:
    """Tamper with a copy and load it; the text of the refusal, or what happened in its place, after "NOT HELD".

    Args:
        release: A sound release; it stays as it is.
        tampering: What to do to it.
        folder: Where the copy is made; must not exist.
        with_digest: Does who loads it know the digest of the sound one?
    """
    digest = manifest.sha256(release / manifest.NAME)
    shutil.copytree(release, folder)
    tampering.change(folder)
    if tampering.is_forged:
        reforge(folder)
    try:
        Scorer(folder, digest if with_digest else None).close()
    except MLAssetsError as error:
        text = str(error)
    except Exception as error:  # whatever else: that is what is looked for
        return f"NOT HELD: {type(error).__name__}: {error}"
    else:
        return "NOT HELD: it was loaded"
    if (folder.parent / CANARY).exists():
        return "NOT HELD: its SELECT wrote a file"
    return text if with_digest or tampering.word in text else f"NOT HELD: {tampering.word!r} is not named in {text}"


def attack(release: Path, seed: int = 0) -> list[Row]:
    """Every tampering, without and with the digest."""
    rows = []
    for with_digest in (False, True):
        for is_forged in (False, True):
            chosen = [one for one in tamperings(release, seed) if one.is_forged == is_forged]
            held = 0
            for one in chosen:
                with tempfile.TemporaryDirectory() as work:
                    text = refusal(release, one, Path(work) / "release", with_digest)
                held += not text.startswith("NOT HELD")
                if text.startswith("NOT HELD"):
                    print(f"{one.name}: {text}", flush=True)
            manner = "with a manifest to match" if is_forged else "under the old manifest"
            digest = "known" if with_digest else "unknown"
            rows.append(Row(f"tampered releases {manner}, digest {digest}", len(chosen), held))
    return rows


def reforge(folder: Path) -> None:
    """Write manifests that match whatever is there, as far as that can be told."""
    for place in (folder / "bundle", folder):
        file = place / manifest.NAME
        if not file.is_file() or file.stat().st_size == 0:
            continue
        known: dict[str, Any] = json.loads(file.read_bytes())
        names = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
        known["files"] = {name: manifest.sha256(path) for name, path in names.items() if name != manifest.NAME}
        file.write_text(json.dumps(known))


def _plain(release: Path, rng: random.Random) -> Iterator[Tampering]:
    names = sorted(path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file())
    for name in names:
        word = "manifest" if name == manifest.NAME else Path(name).name
        yield Tampering(f"half of {name}", word, _replaced(name, lambda old: old[: len(old) // 2]))
        yield Tampering(f"{name} empty", word, _replaced(name, lambda _: b""))
        yield Tampering(f"{name} gone", word, lambda folder, name=name: (folder / name).unlink())
        for kind, make in KINDS.items():
            yield Tampering(f"{name} as {kind}", word, _made(name, make))
        if name != manifest.NAME:  # nobody but the registry can tell a layout of the manifest from another
            byte, bit = rng.randrange(max(1, (release / name).stat().st_size)), rng.randrange(8)
            yield Tampering(f"a bit of {name}", word, _flipped(name, byte, bit))
            yield Tampering(f"{name} longer", word, _replaced(name, lambda old: old + b"\n"))
    for name in ("new.sql", "bundle/new.py", "lookups/new.parquet", ".hidden", "a/b/c/d/e/f/g/h/i/j.txt"):
        yield Tampering(f"{name} added", "", _made(name, lambda path: path.write_bytes(b"x")))


def _linked(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _socket(path: Path) -> None:
    """A socket; its address may have 100 characters at most, so it is bound from its folder."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


KINDS: dict[str, Change] = {"a FIFO": os.mkfifo, "a link": _linked, "a socket": _socket, "a folder": Path.mkdir}


def forgeries() -> Iterator[Tampering]:
    """What a folder could do that is handed over with manifests to match."""

    def new(name: str, word: str, change: Change) -> Tampering:
        return Tampering(name, word, change, is_forged=True)

    sound = "SELECT row_id, income, region, 1 AS signed_hour, 0.1 AS unemployment, 0.1 AS late_share FROM batch"
    canary = f"COPY (SELECT 1) TO '{{beside}}/{CANARY}'"
    for name, text in {
        "two statements": f"{sound}; {sound}",
        "a statement before": f"{canary}; {sound}",
        "a statement behind": f"{sound}; {canary}",
        "a parenthesis left": f"{sound}) AS x; {canary}; SELECT * FROM (SELECT 1",
        "a parenthesis left in a comment": f"{sound}) -- \n; {canary}; --",
        "no SELECT": canary,
        "a setting": "SET lock_configuration = false",
        "an extension": "LOAD httpfs",
        "a file read": "SELECT row_id, content AS region FROM batch, read_text('/etc/hostname')",
        "a file read by its name": "SELECT * FROM '/etc/passwd.csv'",
        "files listed": "SELECT row_id, file AS region FROM batch, glob('/etc/*')",
        "a file attached": "ATTACH '/tmp/x.duckdb'",
        "a variable of Python": "SELECT * FROM facts",
        "an unfinished comment": "SELECT 1 /*",
        "no text": "",
        "no UTF-8": "\udcff",
    }.items():
        yield new(f"SELECT: {name}", "features", _select(text))
    for name, text in {
        "two statements": "SELECT 1; SELECT 2",
        "no SELECT": "CREATE TABLE t (x)",
        "a copy written": f"VACUUM INTO '{{beside}}/{CANARY}'",
        "a file attached": f"ATTACH '{{beside}}/{CANARY}' AS x",
        "an extension": "SELECT load_extension('x')",
        "a setting": "PRAGMA temp_store_directory = '/tmp'",
        "much memory": "SELECT length(randomblob(1000000000))",
        "no end": "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT count(*) FROM r",
        "no text": "",
    }.items():
        yield new(f"SQLite: {name}", "features", _sqlite(text))
    yield new(
        "a SELECT that was not translated", "features.sql", _replaced("bundle/features.sql", lambda old: old + b" ")
    )
    for name in ("lookups", "references"):
        yield new(f"{name} out of the folder", "release.json", _facts(name, "../../../../etc/hostname"))
        yield new(f"{name} at an absolute path", "release.json", _facts(name, "/etc/hostname"))
    yield new("a SELECT out of the folder", "release.json", _json("release.json", sql="../../x.sql"))
    yield new("code of its own", "digest", _json("release.json", sql=None, function="os:system"))
    yield new("a SELECT and code", "release.json", _json("release.json", function="os:system"))
    yield new("facts of another version", "release.json", _json("release.json", colour="blue"))
    yield new("facts of a wrong type", "release.json", _json("release.json", lookups=3))
    yield new("deep JSON", "release.json", _replaced("release.json", lambda _: b"[" * 100_000))
    yield new("JSON that is no object", "golden.json", _replaced("golden.json", lambda _: b"[]"))
    yield new("no golden rows, but scores", "golden", _json("golden.json", rows=[]))
    yield new("another engine", "schema.json", _json("bundle/schema.json", engine="pickle"))
    yield new("another kind", "schema.json", _json("bundle/schema.json", kind="sorting"))
    yield new("another type of column", "schema.json", _json("bundle/schema.json", columns={"loan": "BLOB"}))
    yield new("another format", "format", _json("manifest.json", format=7))
    yield new("another format of the bundle", "format", _json("bundle/manifest.json", format="2"))
    for name in ("manifest.json", "bundle/manifest.json"):
        yield new(f"{name} without files", "manifest", _json(name, files=None, format=9))
    yield new("a model of another type", "trusted", _skops({"__class__": "Popen", "__module__": "subprocess"}))
    yield new(
        "a model that names its type", "trusted", _skops({"__class__": "system", "__module__": "os"}, "os.system")
    )
    yield new(
        "a model that is no zip", "model.skops", _model(lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 200))
    )
    yield new("a model that is a bomb", "model.skops", _model(_bomb))
    yield new("sources that are a bomb", "server.zip", _made("server.zip", _bomb))
    yield new("a graph that is none", "model.onnx", _replaced("bundle/model.onnx", lambda old: old[::-1]))
    yield new("a graph of zeros", "model.onnx", _replaced("bundle/model.onnx", lambda old: b"\0" * len(old)))
    yield new("a lookup that is no Parquet", "", _replaced("lookups/region_history.parquet", lambda _: b"PAR1" * 9))
    yield new(
        "a text of 65 MiB", "metrics.json", _made("metrics.json", lambda path: os.truncate(_touched(path), 65 * 2**20))
    )
    yield new("too many files", "files", _many)


def _touched(path: Path) -> Path:
    path.touch()
    return path


def _flipped(name: str, byte: int, bit: int) -> Change:
    return _replaced(name, lambda old: old[:byte] + bytes([old[byte] ^ 1 << bit]) + old[byte + 1 :])


def _replaced(name: str, content: Callable[[bytes], bytes]) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content((folder / name).read_bytes()))

    return change


def _made(name: str, make: Callable[[Path], object]) -> Change:
    def change(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        make(file)

    return change


def _json(name: str, **changed: object) -> Change:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))

    return change


def _facts(key: str, name: str) -> Change:
    return _json("release.json", **{key: {name: ["region"]} if key == "lookups" else [name]})


def _select(text: str) -> Change:
    def change(folder: Path) -> None:
        told = text.replace("{beside}", str(folder.parent))
        (folder / "bundle" / "features.sql").write_bytes(told.encode(errors="surrogateescape"))
        _json("release.json", features_engine="duckdb")(folder)

    return change


def _sqlite(text: str) -> Change:
    """Another SELECT for SQLite, with the digest of the one that it is said to be translated from."""

    def change(folder: Path) -> None:
        file = folder / "features.sqlite.sql"
        head = file.read_text().partition("\n")[0]
        file.write_text(f"{head}\n{text.replace('{beside}', str(folder.parent))}")

    return change


def _model(make: Change, estimator: str | None = None) -> Change:
    """Let skops answer, with a model file that `make` writes."""

    def change(folder: Path) -> None:
        named = {} if estimator is None else {"estimator": estimator}
        _json("bundle/schema.json", engine="skops", **named)(folder)
        make(folder / "bundle" / "model.skops")

    return change


def _skops(node: dict[str, Any], estimator: str | None = None) -> Change:
    """A model file whose one object has another type than any estimator."""
    whole = {
        **node,
        "__loader__": "ObjectNode",
        "__id__": 1,
        "content": None,
        "protocol": 2,
        "_skops_version": "0.16.0",
    }

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("schema.json", json.dumps(whole))

    return _model(make, estimator)


def _bomb(path: Path) -> None:
    """A zip of 16 KiB whose one member unpacks to 16 MiB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("schema.json", b"0" * 2**24)


def _many(folder: Path) -> None:
    for number in range(1_100):
        (folder / "lookups" / f"x{number}.parquet").touch()
