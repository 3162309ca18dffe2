"""Files of outcomes that are known later than their rows become rows of a table that only grows.

A file's bytes are taken once; changed bytes under an old name count as newer. A file is taken whole or rejected whole:
a wrong label is worse than a missing one.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb

from ml_assets.atomic import short_hash
from ml_assets.errors import SourceError
from ml_assets.graph.ingest import arrivals, files, rows, validation
from ml_assets.lake import faults
from ml_assets.lake.lake import Commit, Lake, Written
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier, identifiers
from ml_assets.sources.formats import SQL_TYPES
from ml_assets.sources.packed import check_whole
from ml_assets.sources.remote import Place
from ml_assets.spec import Outcomes, PipelineSpec, Tolerate
from ml_assets.tables import data, ingest_errors
from ml_assets.tables import outcomes as late
from ml_assets.tables.arrivals import OUTCOME_FILES, Arrival, known, put
from ml_assets.tables.versions import now

ROWS = "_outcome_rows"
LOCK_TIMEOUT_S = 3600


@dataclass(frozen=True)
class Taken:
    """What a scan of the folder led to.

    Args:
        written: The rows that were added.
        files: Every file, as it is recorded now.
        new: Files whose rows were added.
        rejected: Files that are rejected now and were not before.
    """

    written: Written
    files: list[Arrival]
    new: list[Arrival]
    rejected: list[Arrival]


def take(lake: Lake, spec: PipelineSpec, source: Outcomes, paths: Paths, commit: Commit) -> Taken:
    """Add the rows of every new and changed file, oldest first. A bad file is rejected and recorded.

    Two of these never run at once, so that no file is taken twice.

    Raises:
        SourceError: The folder does not exist or cannot be listed.
        LakeError: The lake cannot be written.
    """
    place = files.place_of(spec, paths, source)
    with lake.catalog.lock(late.OUTCOMES.of(spec.name), LOCK_TIMEOUT_S, "taking outcomes"):
        earlier = known(lake, spec.name, OUTCOME_FILES)
        types = {**late.OUTCOMES.types, **{column.name: SQL_TYPES[column.type] for column in _declared(spec).columns}}
        lake.con.execute(f"CREATE OR REPLACE TEMP TABLE {ROWS} AS SELECT * FROM {lake.values(types, [])}")
        found = _judged(lake, spec, place, files.scan(source, place, earlier), earlier)
        rejected = arrivals.newly_rejected(found, earlier)
        ingest_errors.record(lake, spec.name, arrivals.failed(rejected), commit)
        puts = [
            late.OUTCOMES.put(
                spec.name, ROWS, None, data.descriptions(spec), append=True, version=_data_version(found)
            ),
            put(lake, spec.name, found, OUTCOME_FILES, earlier),
        ]
        written, _ = lake.replace(puts, commit)
    return Taken(written, found, is_new(found, earlier, check_refused=True), rejected)


def is_new(found: Iterable[Arrival], earlier: Mapping[str, Arrival], check_refused: bool = False) -> list[Arrival]:
    """Ready files whose bytes are not those that were seen under their names before.

    Args:
        found: Files as they are.
        earlier: Files as they were last seen, by path.
        check_refused: Those that were refused before count, too: the YAML may have changed.
    """
    seen = {path: one.sha256 for path, one in earlier.items() if not (check_refused and one.status == "refused")}
    return [one for one in found if one.status == "ready" and seen.get(one.path) != one.sha256]


def _is_copy(arrival: Arrival) -> bool:
    return arrival.status == "duplicate"


def _judged(
    lake: Lake, spec: PipelineSpec, place: Place, found: Iterable[Arrival], earlier: Mapping[str, Arrival]
) -> list[Arrival]:
    """What becomes of each file; the rows of those that are taken now are in the temporary table `ROWS`."""
    listed = sorted(found, key=lambda one: (one.modified_at, one.path))
    taken = {(one.sha256, one.batch): path for path, one in earlier.items() if one.status in ("ready", "vanished")}
    received = max(now(), (late.newest(lake, spec.name) or dt.datetime.min) + dt.timedelta(microseconds=1))
    new = {one.path for one in is_new(listed, earlier, check_refused=True)}
    judged = []
    for number, arrival in enumerate(listed):
        original = taken.get((arrival.sha256, arrival.batch), arrival.path)
        if arrival.status == "ready" and arrival.path not in new:
            before = earlier[arrival.path]
            judged.append(arrival._replace(status="duplicate", error=before.error) if _is_copy(before) else arrival)
        elif arrival.status == "ready" and original != arrival.path and arrival.path not in earlier:
            judged.append(arrival._replace(status="duplicate", error=f"The same bytes as {original}: not taken again."))
        elif arrival.status == "ready":
            judged.append(_read(lake, spec, place, arrival, received + dt.timedelta(microseconds=number)))
            if judged[-1].status == "ready":
                taken[(arrival.sha256, arrival.batch)] = arrival.path
        else:
            judged.append(arrival)
    return sorted(judged, key=lambda one: one.path)


def _read(lake: Lake, spec: PipelineSpec, place: Place, arrival: Arrival, received: dt.datetime) -> Arrival:
    """Add the rows of a file to `ROWS`; the file as ready, refused, or settling where it changed meanwhile."""
    declared = _declared(spec)
    try:
        delivery = files.deliver(place, [arrival])
        check_whole(delivery.local[0], arrival.path)
        _check_columns(spec, rows.header(lake.con, declared, delivery), arrival)
        relation, _ = rows.open_rows(lake.con, declared, arrival.batch or "", delivery)
        try:
            lake.con.execute(f"CREATE OR REPLACE TEMP TABLE _outcome_file AS SELECT * FROM {relation}")
        except duckdb.Error as error:
            raise rows.unreadable(error, delivery) from error
        try:
            delivery.check_unchanged()
        except SourceError as error:
            return arrival._replace(status="settling", sha256=None, error=str(error))
        _check_rows(lake, spec, declared, arrival)
    except Exception as error:
        if faults.stops_all(error):
            raise
        text = faults.explained(error).at(pipeline=spec.name, batch=arrival.batch, file=arrival.path)
        return arrival._replace(status="refused", error=str(text))
    finally:
        place.discard(arrival.path, arrival.version)
    columns = identifiers([column.name for column in declared.columns])
    lake.con.execute(
        f"""INSERT INTO {ROWS} BY NAME SELECT $batch::VARCHAR AS batch, $received::TIMESTAMP AS received_at,
        source_file, source_sha256, {columns} FROM _outcome_file""",
        {"batch": arrival.batch, "received": received},
    )
    return arrival


def _declared(spec: PipelineSpec) -> PipelineSpec:
    """The pipeline as if its batches held nothing but the key and the outcomes."""
    columns = [
        column.model_copy(update={"nullable": column.name not in spec.key, "references": None})
        for column in spec.columns
        if column.outcome or column.name in spec.key
    ]
    tolerate = Tolerate(missing_columns="null", new_columns="ignore")
    return spec.model_copy(update={"columns": columns, "key": [], "rules": {}, "tolerate": tolerate})


def _check_columns(spec: PipelineSpec, found: Mapping[str, str], arrival: Arrival) -> None:
    present = {name.lower() for name in found}
    missing = [name for name in spec.key if name.lower() not in present]
    if missing:
        rule, fix = f"A file of outcomes has every column of the key; it lacks {', '.join(missing)}.", spec.key
    elif not present & {name.lower() for name in spec.outcome_columns}:
        rule, fix = "A file of outcomes has an outcome column; it has none.", spec.outcome_columns
    else:
        return
    raise SourceError(
        rule,
        found=f"columns {', '.join(found)}",
        where={"file": arrival.path},
        fix=f"Deliver it with {', '.join(fix)}.",
    )


def _check_rows(lake: Lake, spec: PipelineSpec, declared: PipelineSpec, arrival: Arrival) -> None:
    """Refuse a file without rows, with a value that is not as declared, or with two outcomes for one key."""
    where = {"file": arrival.path}
    count = lake.con.execute("SELECT count(*) FROM _outcome_file").fetchall()[0][0]
    if not count:
        raise SourceError("The file has no rows.", where=where, fix="Deliver it with its rows.")
    sql, values = validation.checked_select(declared, "_outcome_file")
    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE _outcome_broken AS {sql}", values)
    broken = validation.count_broken(lake.con, "_outcome_broken")
    lake.con.execute("DROP TABLE _outcome_broken")
    if broken:
        worst = broken[0]
        raise SourceError(
            "An outcome is not as its column is declared; none of the file's rows is taken.",
            found=f"{worst.rule} in {worst.rows:,} of {count:,} rows, such as {', '.join(map(str, worst.examples))}",
            where={**where, "column": worst.rule.removeprefix("type of ").partition(".")[0]},
            fix="Fix the file, or the column in defs.yaml.",
        )
    differ = " OR ".join(f"min({identifier(name)}) != max({identifier(name)})" for name in spec.outcome_columns)
    twice = lake.con.execute(
        f"""SELECT {", ".join(f"{identifier(name)}::VARCHAR" for name in spec.key)} FROM _outcome_file
        GROUP BY {identifiers(spec.key)} HAVING {differ} ORDER BY ALL LIMIT 1"""
    ).fetchall()
    if twice:
        raise SourceError(
            "A key has two different outcomes in one file, and nothing tells which one is true.",
            found=", ".join(f"{name} {value}" for name, value in zip(spec.key, twice[0], strict=True)),
            where=where,
            fix="Deliver one outcome for each key; a later file corrects an earlier one.",
        )


def _data_version(found: Iterable[Arrival]) -> str:
    """The files that were taken decide the rows."""
    facts = sorted((one.path, one.sha256 or "") for one in found if one.status in ("ready", "vanished"))
    return short_hash(json.dumps(facts))
