"""Making a pin: which batches have labels, how they are split, and the hash that identifies the training set."""

from __future__ import annotations

import json
from itertools import accumulate, groupby

from ml_assets.atomic import short_hash
from ml_assets.errors import TrainingError
from ml_assets.graph.code_version import is_other_code
from ml_assets.lake.lake import Lake
from ml_assets.lake.sql import identifiers
from ml_assets.ml.feature_types import feature_type
from ml_assets.spec import PipelineSpec
from ml_assets.tables import online_batches, outcomes, training_sets
from ml_assets.tables.audit import last_writes
from ml_assets.tables.data import FEATURES, is_online_batch
from ml_assets.tables.training_sets import LABEL, PARTS, Pin

MIN_ROWS = 20
ROWS_A_QUERY = 5_000_000  # features and labels are joined for so many at a time: a join of all rows would spill
MAX_BYTES = 1024**3  # of the features in memory, 8 bytes a value; a training takes several times that


def make_pin(lake: Lake, spec: PipelineSpec) -> Pin:
    """The training set of this moment.

    Raises:
        TrainingError: No features, no label that is known, or fewer batches or rows than the split needs.
    """
    where = {"pipeline": spec.name}
    if not lake.exists(FEATURES.of(spec.name)):
        raise TrainingError(
            "There are no features yet.",
            where=where,
            fix=f"Run `ml-assets ingest {spec.name}` first.",
        )
    features = {
        name: feature_type(kind) or ""
        for name, kind in lake.columns(FEATURES.sql(spec.name)).items()
        if name not in ("batch", "row_id")
    }
    # One snapshot for all that is read: outcomes may come while this runs.
    late, online, snapshot = outcomes.late(lake, spec), online_batches.key(lake, spec), lake.snapshot()
    known = outcomes.known_sql(spec.name, late, snapshot, online)
    content = _content_by_batch(lake, spec, list(features), known, snapshot)
    content = {batch: found for batch, found in content.items() if not _is_superseded(spec, batch, int(found[0]))}
    split = spec.split.model_dump()
    batches = _divided(spec, sorted(content))
    available = sum(int(found[0]) for found in content.values())
    limit = spec.training.max_rows or MAX_BYTES // (8 * max(len(features), 1))
    share = limit / available if available > limit else None
    definition = {
        "content": content,
        "batches": batches,
        "features": features,
        "target": spec.target.model_dump(),
        "split": split,
        "seed": spec.tuning.seed,
        **({} if share is None else {"share": share}),
    }
    pin = Pin(
        pin_id=short_hash(json.dumps(definition, sort_keys=True), 12),
        snapshot_id=snapshot,
        batches=batches,
        rows=dict.fromkeys(PARTS, 0),
        features=features,
        target=spec.target.sql,
        split=split,
        seed=spec.tuning.seed,
        late=late,
        online=online,
        available=None if share is None else available,
        share=share,
    )
    return _counted(lake, spec, pin)


def _content_by_batch(
    lake: Lake, spec: PipelineSpec, features: list[str], known: str, snapshot: int
) -> dict[str, list[str]]:
    """Batch -> labelled rows, and hashes of their features and labels that do not depend on the order of rows."""
    sql = f"""
        SELECT f.batch, count(*)::VARCHAR, sum(hash(f)::HUGEINT)::VARCHAR,
            sum(hash(f.row_id, l.label)::HUGEINT)::VARCHAR
        FROM (SELECT batch, row_id, {identifiers(features)} FROM {FEATURES.sql(spec.name, snapshot)}) f
        JOIN (SELECT batch, row_id, ({spec.target.sql}\n) AS label
            FROM {known}) l USING (batch, row_id)
        WHERE l.label IS NOT NULL AND f.batch BETWEEN $first AND $last GROUP BY f.batch
        """
    rows = [row for batches in _ranges(lake, spec) for row in lake.con.execute(sql, batches).fetchall()]
    if not rows:
        raise TrainingError(
            f"The target {spec.target.name!r} is NULL in every row: there is nothing to learn from.",
            found=f"target.sql: {spec.target.sql}",
            where={"pipeline": spec.name},
            fix="Wait for the outcomes, or correct target.sql.",
        )
    return {batch: list(content) for batch, *content in rows}


def _ranges(lake: Lake, spec: PipelineSpec) -> list[dict[str, str]]:
    """First and last batch of groups of about `ROWS_A_QUERY` rows, or of one batch.

    By a range DuckLake leaves out the files of other batches; a list of names would be joined with all rows.
    """
    rows = lake.rows_by_batch(FEATURES.of(spec.name))
    ends = accumulate(rows.values())
    grouped = groupby(zip(rows, ends, strict=True), key=lambda one: one[1] // ROWS_A_QUERY)
    groups = [[batch for batch, _ in group] for _, group in grouped]
    return [{"first": group[0], "last": group[-1]} for group in groups]


def _is_superseded(spec: PipelineSpec, batch: str, rows: int) -> bool:
    """Has a batch of logged requests too few rows left to judge a model by, as files brought the others?"""
    return is_online_batch(batch) and rows < spec.retrain.min_rows


def _divided(spec: PipelineSpec, batches: list[str]) -> dict[str, list[str]]:
    if spec.split.by != "batch":
        return dict.fromkeys(PARTS, batches)
    validation, test = int(spec.split.validation), int(spec.split.test)
    if len(batches) < validation + test + 1:
        raise TrainingError(
            f"The split needs at least {validation + test + 1} batches with labels: "
            f"{test} for test, {validation} for validation and one to train on.",
            found=f"{len(batches)}: {', '.join(batches)}",
            where={"pipeline": spec.name},
            fix="Ingest more batches, or set split: {by: stratified, validation: 0.2, test: 0.2}.",
        )
    train = len(batches) - validation - test
    return {
        "train": batches[:train],
        "validation": batches[train : train + validation],
        "test": batches[train + validation :],
    }


def _counted(lake: Lake, spec: PipelineSpec, pin: Pin) -> Pin:
    """The pin with its row counts; refused where a part is too small or has one class only."""
    sql = f"""SELECT part, count(*), min({LABEL}), max({LABEL}) FROM ({training_sets.rows_sql(spec.name, pin)})
        WHERE batch BETWEEN $first AND $last GROUP BY part"""
    whole = {"first": pin.all_batches[0], "last": pin.all_batches[-1]}
    rows, labels = dict.fromkeys(PARTS, 0), {part: set[object]() for part in PARTS}
    # A stratified split is computed over all batches at once.
    for batches in [whole] if pin.split["by"] == "stratified" else _ranges(lake, spec):
        for part, count, *ends in lake.con.execute(sql, {**training_sets.parameters(pin), **batches}).fetchall():
            rows[part] += count
            labels[part].update(ends)
    for part in PARTS:
        if rows[part] < MIN_ROWS:
            raise TrainingError(
                f"The {part} part has fewer than {MIN_ROWS} labelled rows.",
                found=f"{rows[part]} rows",
                where={"pipeline": spec.name, "part": part},
                fix="Ingest more rows, or change split in defs.yaml.",
            )
        if spec.target.kind != "regression" and len(labels[part]) < 2:
            raise TrainingError(
                f"The {part} part has one class only.",
                where={"pipeline": spec.name, "part": part, "target": spec.target.name},
                fix="Correct target.sql, or use split: {by: stratified, ...}.",
            )
    return Pin(**{**pin.__dict__, "rows": rows})


def stale_features(lake: Lake, spec: PipelineSpec) -> list[str]:
    """Batches whose features were made by an older code version than the newest ones."""
    asset = FEATURES.asset(spec.name)
    writes = [write for (name, _), write in last_writes(lake, spec.name).items() if name == asset]
    if not writes:
        return []
    newest = max(writes, key=lambda write: write.snapshot_id).code_version
    return sorted(str(write.batch) for write in writes if is_other_code(write.code_version, newest))
