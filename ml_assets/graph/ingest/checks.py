"""Checks of the ingest stage."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import dagster as dg

from ml_assets.errors import SourceError
from ml_assets.graph import declare
from ml_assets.graph.checks import BatchCheck, Verdict, batch_checks
from ml_assets.graph.ingest import expectations
from ml_assets.lake.lake import Lake
from ml_assets.reporting.markdown import markdown_table
from ml_assets.resources import LakeResource
from ml_assets.spec import PipelineSpec
from ml_assets.step_errors import UserFailure, user_errors
from ml_assets.tables import arrivals
from ml_assets.tables.arrivals import ARRIVALS, OUTCOME_FILES, WORDS
from ml_assets.tables.data import QUARANTINE, RAW_DATA, VALIDATED_DATA, is_online_batch
from ml_assets.tables.outcomes import OUTCOMES
from ml_assets.tables.table import Table

SHOWN = 10


def ingest_checks(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The stage's checks for one pipeline."""
    of_outcomes = [_every_file_is_accepted(spec, OUTCOMES, OUTCOME_FILES)] if spec.outcomes else []
    arrived = _every_file_is_accepted(spec, ARRIVALS, ARRIVALS)
    return [arrived, *of_outcomes, _raw_checks(spec), _validated_checks(spec)]


def _every_file_is_accepted(spec: PipelineSpec, asset: Table, listed: Table) -> dg.AssetChecksDefinition:
    """No file is rejected or skipped. A run that only met such files has failed where one is rejected."""
    name = "every_file_is_accepted"
    about = "No file in the folder is rejected (error), or skipped as a duplicate or for its name (warning)."

    @dg.multi_asset_check(
        name=f"{spec.name}__{asset.name}_{name}",
        specs=[dg.AssetCheckSpec(name, asset=declare.asset_key(spec, asset), description=about)],
    )
    def every_file_is_accepted(
        context: dg.AssetCheckExecutionContext, lake: LakeResource
    ) -> Iterator[dg.AssetCheckResult]:
        with user_errors(pipeline=spec.name):
            files = arrivals.of_status(lake.open(), spec.name, *arrivals.REJECTED, listed=listed)
        bad = [{"path": one.path, "status": one.status, "error": one.error or ""} for one in files]
        is_rejected = any(row["status"] == "refused" for row in bad)
        yield dg.AssetCheckResult(
            passed=not bad,
            severity=dg.AssetCheckSeverity.ERROR if is_rejected else dg.AssetCheckSeverity.WARN,
            description=" ".join([_listed(bad), *_reasons(bad)]) or None,
            metadata={"files": str(len(bad)), "errors": dg.MetadataValue.md(markdown_table(bad[:20]))},
        )
        if is_rejected and declare.REJECTED_TAG in context.op_execution_context.run.tags:
            errors = [row["error"] for row in bad if row["status"] == "refused"]
            raise UserFailure([SourceError("\n".join([_listed(bad), *errors]))])

    return every_file_is_accepted


def _reasons(bad: Sequence[Mapping[str, str]]) -> list[str]:
    """Why each file is rejected, in brackets: the whole errors are metadata that a click opens."""
    rejected = [row for row in bad if row["status"] == "refused"]
    named = [(row["path"].rpartition("/")[2], row["error"].partition("\n")[0]) for row in rejected]
    return [f"({name}: {reason})" for name, reason in named[:SHOWN]]


def _listed(bad: Sequence[Mapping[str, str]]) -> str:
    """`2 files are rejected: a.csv, b.csv; 1 file is skipped as a duplicate: c.csv`."""
    parts = []
    for status, word in WORDS.items():
        names = [row["path"].rpartition("/")[2] for row in bad if row["status"] == status]
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        if names:
            parts.append(f"{len(names)} {'file is' if len(names) == 1 else 'files are'} {word}: {shown}")
    return "; ".join(parts)


def _raw_checks(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    name = RAW_DATA.of(spec.name)
    return batch_checks(
        spec,
        RAW_DATA.name,
        [
            BatchCheck("has_rows", "The batch has rows.", lambda lake, batch: _has_rows(lake, name, batch)),
            BatchCheck(
                "every_file_is_read",
                "Every ready file of the batch is in it.",
                lambda lake, batch: _every_file_is_read(lake, spec.name, batch),
                blocking=False,
            ),
        ],
    )


def _has_rows(lake: Lake, name: str, batch: str) -> Verdict:
    rows = lake.count(name, batch)
    return Verdict(rows > 0, {"rows": rows}, None if rows else f"{name} has no rows of batch {batch}")


def _every_file_is_read(lake: Lake, pipeline: str, batch: str) -> Verdict:
    files = ", ".join(arrivals.unread(lake, pipeline, batch))
    return Verdict(not files, {"files_set_aside": files or "none"}, f"{files} cannot be read" if files else None)


def _validated_checks(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    checks = [
        BatchCheck(
            "no_row_is_lost",
            "Each raw row is either validated or in quarantine, never both.",
            lambda lake, batch: _no_row_is_lost(lake, spec.name, batch),
        ),
        BatchCheck(
            "as_expected",
            "Volume and freshness are as `expect` says.",
            lambda lake, batch: _as_expected(lake, spec, batch),
            blocking=spec.expect.otherwise == "refuse",
        ),
        BatchCheck(
            "within_tolerance",
            f"At most {spec.tolerate.quarantined:.1%} of the rows break a rule.",
            lambda lake, batch: _within_tolerance(lake, spec, batch),
        ),
    ]
    return batch_checks(spec, VALIDATED_DATA.name, checks, deps=[declare.asset_key(spec, QUARANTINE)])


def _no_row_is_lost(lake: Lake, pipeline: str, batch: str) -> Verdict:
    """Compare row ids: a refused batch has all its rows in raw_data and the broken ones in quarantine."""
    tables = (RAW_DATA, VALIDATED_DATA, QUARANTINE)
    if not lake.exists(VALIDATED_DATA.of(pipeline)):
        return Verdict(False, {}, "no batch has been validated yet")
    of_raw, of_valid, of_held = (lake.row_ids(table.of(pipeline), batch) for table in tables)
    if of_raw == (of_valid[0] + of_held[0], of_valid[1] + of_held[1]):
        return Verdict(True, {"lost_rows": 0, "doubled_rows": 0})
    raw, valid, held = (table.sql(pipeline) for table in tables)
    lost, doubled = lake.con.execute(
        f"""
        WITH split AS (SELECT row_id FROM {valid} WHERE batch = $batch
                       UNION ALL SELECT row_id FROM {held} WHERE batch = $batch)
        SELECT (SELECT count(*) FROM {raw} WHERE batch = $batch AND row_id NOT IN (SELECT row_id FROM split)),
               (SELECT count(*) - count(DISTINCT row_id) FROM split)
        """,
        {"batch": batch},
    ).fetchall()[0]
    return Verdict(lost == 0 and doubled == 0, {"lost_rows": lost, "doubled_rows": doubled}, None)


def _as_expected(lake: Lake, spec: PipelineSpec, batch: str) -> Verdict:
    found = [] if is_online_batch(batch) else expectations.unmet(lake, spec, batch)
    shown = dg.MetadataValue.md(markdown_table([asdict(one) for one in found]))
    return Verdict(not found, {"unmet": shown}, ", ".join(one.expectation for one in found) or None)


def _within_tolerance(lake: Lake, spec: PipelineSpec, batch: str) -> Verdict:
    rows = lake.count(RAW_DATA.of(spec.name), batch)
    held = lake.count(QUARANTINE.of(spec.name), batch)
    share = held / rows if rows else 1.0
    return Verdict(
        share <= spec.tolerate.quarantined,
        {"quarantined": held, "share_quarantined": share},
        f"{held:,} of {rows:,} rows break a rule" if held else None,
    )
