"""Scores of one batch: by the champion of that moment, by the versions that score beside it, or by one that is named.

Rows are read, scored and kept a chunk at a time, so that the memory does not depend on the size of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets import metrics
from ml_assets.errors import BatchRefused, ModelError
from ml_assets.graph.scoring import routes
from ml_assets.lake.lake import Lake
from ml_assets.lake.paths import Paths
from ml_assets.lake.sql import identifier, identifiers, table
from ml_assets.ml import bundle
from ml_assets.spec import PipelineSpec
from ml_assets.tables import releases, training_sets, versions
from ml_assets.tables.data import FEATURES
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.versions import ModelVersion

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 50_000
SCORED = "scored"


@dataclass(frozen=True)
class BatchScorer:
    """A version at work.

    Args:
        model: The version.
        role: champion, challenger, shadow or rescored.
        loaded: Its bundle.
        knows: Batches that it was trained, tuned or judged on.
    """

    model: ModelVersion
    role: str
    loaded: bundle.Bundle
    knows: frozenset[str]


def scorers(lake: Lake, paths: Paths, spec: PipelineSpec) -> list[BatchScorer]:
    """The champion, then the versions that `serving` names, each once.

    Raises:
        ModelError: There is no champion, or a version that `serving.shadow` names does not exist.
    """
    champion = versions.need_alias(lake, spec.name, "champion")
    challenger = versions.alias(lake, spec.name, "challenger")
    wanted = [(champion, "champion")]
    if challenger and spec.serving.routes.get("challenger"):
        wanted.append((challenger, "challenger"))
    for name in spec.serving.shadow:
        model = challenger if name == "challenger" else versions.need_version(lake, spec.name, name)
        wanted += [(model, "shadow")] if model else []
    first = {model.version: (model, role) for model, role in reversed(wanted)}
    return [load(lake, paths, spec.name, *first[version]) for version in dict.fromkeys(m.version for m, _ in wanted)]


def load(lake: Lake, paths: Paths, pipeline: str, model: ModelVersion, role: str) -> BatchScorer:
    """A version, ready to score."""
    pin = training_sets.newest(lake, pipeline, pin_id=model.pin_id)
    served = releases.served(lake, pipeline, model)
    loaded = bundle.load(paths.artifacts.bundles.fetch(served.bundle), served.bundle_sha256)
    return BatchScorer(model, role, loaded, frozenset(pin.all_batches))


def score_batch(lake: Lake, spec: PipelineSpec, batch: str, by: Sequence[BatchScorer]) -> None:
    """Score every row of a batch into the temporary table `scored`, which has the columns of `PREDICTIONS`.

    A row for each row of the batch and each version; one of the versions is that which the row is routed to.

    Raises:
        BatchRefused: The batch has no features.
        ModelError: The features are not those that a version was trained on.
    """
    name = FEATURES.of(spec.name)
    if not lake.count(name, batch):
        raise BatchRefused("features has no rows of the batch.", fix=f"Materialize {spec.name}/features for it.")
    there = lake.columns(table(name))
    for scorer in by:
        missing = sorted(set(scorer.loaded.schema.features) - set(there))
        if missing:
            raise ModelError(
                f"Version {scorer.model.version} needs features that are not made any more: {', '.join(missing)}.",
                fix=f"Run the job {spec.name}_train for a version of today's features; where it is refused, put the "
                f"features back, or `ml-assets models promote {spec.name} VERSION`.",
            )
    columns = ", ".join(f"{identifier(column)} {kind}" for column, kind in PREDICTIONS.types.items())
    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE {SCORED} ({columns})")
    routes.route_batch(lake, spec, batch, {scorer.role for scorer in by})
    features = list(dict.fromkeys(feature for scorer in by for feature in scorer.loaded.schema.features))
    for rows in _chunks(lake, name, batch, features):
        for scorer in by:
            _append(lake, batch, scorer, _predicted(rows, scorer.loaded))


def keep_others(lake: Lake, pipeline: str, batch: str, rescored: BatchScorer) -> None:
    """Take the batch's predictions by other versions over into `scored`, beside those of a rescoring version.

    The role of the version's rows is settled here: they are the champion's only where the batch has no others. Rows
    are routed to the version only where they are to none of the others.
    """
    name = PREDICTIONS.of(pipeline)
    if lake.count(name, batch):
        lake.con.execute(
            f"INSERT INTO {SCORED} BY NAME SELECT * FROM {table(name)} WHERE batch = ? AND model_version != ?",
            [batch, rescored.model.version],
        )
        # Of an earlier ml_assets:
        lake.con.execute(f"UPDATE {SCORED} SET role = 'champion' WHERE role IS NULL")
        lake.con.execute(f"UPDATE {SCORED} SET routed = role = 'champion' WHERE routed IS NULL")
    lake.con.execute(
        f"""UPDATE {SCORED} SET role = 'champion' WHERE model_version = ?
        AND NOT EXISTS (SELECT 1 FROM {SCORED} WHERE role = 'champion')""",
        [rescored.model.version],
    )
    lake.con.execute(
        f"""UPDATE {SCORED} SET routed = row_id NOT IN (SELECT row_id FROM {SCORED} WHERE routed)
        WHERE model_version = ?""",
        [rescored.model.version],
    )


def _chunks(lake: Lake, name: str, batch: str, features: Sequence[str]) -> Iterator[pa.Table]:
    import pyarrow as pa

    with lake.con.cursor() as cursor:  # a stream ends with the next statement of its connection
        cursor.execute(f"SELECT {identifiers(['row_id', *features])} FROM {table(name)} WHERE batch = ?", [batch])
        for rows in cursor.to_arrow_reader(CHUNK_ROWS):
            yield pa.Table.from_batches([rows])


def _predicted(rows: pa.Table, loaded: bundle.Bundle) -> pa.Table:
    """Row ids, scores, decisions and probabilities of a chunk."""
    import pyarrow as pa

    schema = loaded.schema
    scores = loaded.scores(rows.select(list(schema.features)).to_pandas(date_as_object=False))
    predicted = {
        "row_id": rows.column("row_id"),
        "decision": metrics.decide(scores, schema.kind, schema.threshold, schema.classes),
    }
    if schema.kind != "multiclass":
        return pa.table({**predicted, "score": scores})
    return pa.table({**predicted, "score": scores.max(axis=1), "probabilities": list(scores)})


def _append(lake: Lake, batch: str, scorer: BatchScorer, predicted: pa.Table) -> None:
    lake.con.register("predicted", predicted)
    lake.con.execute(
        f"""INSERT INTO {SCORED} BY NAME SELECT predicted.*, $batch AS batch, $version AS model_version, $role AS role,
        $threshold AS threshold, $seen AS seen, coalesce(r.role, 'champion') = $role AS routed
        FROM predicted LEFT JOIN {routes.ROUTED} r USING (row_id)""",
        {
            "batch": batch,
            "version": scorer.model.version,
            "role": scorer.role,
            "threshold": scorer.loaded.schema.threshold,
            "seen": batch in scorer.knows,
        },
    )
    lake.con.unregister("predicted")
