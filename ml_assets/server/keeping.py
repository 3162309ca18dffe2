"""Answers and feedback as records of the prediction log, written before anybody is answered."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from ml_assets.errors import MLAssetsError
from ml_assets.server.lanes import Job
from ml_assets.server.prediction_log import LogRules, PredictionLog
from ml_assets.server.problems import Problem
from ml_assets.server.requests import MAX_ROWS, Id

TYPES: dict[str, Any] = {"string": str, "integer": int, "number": int | float, "boolean": bool}
Values = Annotated[dict[str, Any], msgspec.Meta(min_length=1)]


class ObservedRow(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What was observed for a row that was scored: found by the request's id, or by the pipeline's key."""

    values: Values
    id: Id | None = None
    row: Annotated[int, msgspec.Meta(ge=0, lt=MAX_ROWS)] | None = None
    key: dict[str, Any] | None = None


class FeedbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request with outcomes."""

    outcomes: Annotated[list[ObservedRow], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]


class RecordWriter:
    """Writes the records of one pipeline; from any thread.

    Args:
        log: The log of this process.
        pipeline: The pipeline.
        rules: What of a request is kept.
        outcomes: Outcome column -> type word, where the project declares it.
        key: Columns of the pipeline's key.
    """

    def __init__(
        self,
        log: PredictionLog,
        pipeline: str,
        rules: LogRules,
        outcomes: Mapping[str, str] | None = None,
        key: Sequence[str] = (),
    ) -> None:
        self._log, self._pipeline, self._rules = log, pipeline, rules
        self._outcomes, self._key = outcomes, set(key)

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Write what was scored; where that fails, nobody is answered, unless the rules say so."""
        scored = [job for job in jobs if job.scored is not None and job.error is None]
        records = [record for job in scored if (record := self._record(job)) is not None]
        try:
            self._log.write(self._pipeline, records)
        except (OSError, MLAssetsError) as error:
            for job in scored:
                job.is_lost = True
                if self._rules.required:
                    job.error = _not_kept(error)

    def _record(self, job: Job) -> bytes | None:
        scored, names = job.scored, list(job.scorer.schema.columns)
        if scored is None:
            return None
        return self._rules.predicted(
            request_id=job.id,
            at=dt.datetime.fromtimestamp(job.started[1], dt.UTC),
            version=job.scorer.facts.version,
            role=job.role,
            rows=[dict(zip(names, msgspec.structs.astuple(row), strict=True)) for row in job.rows],
            features=scored.features,
            scores=scored.scores,
            decisions=scored.decisions,
            probabilities=scored.probabilities,
            keys=job.keys,
            latency_ms=round(1000 * (time.perf_counter() - job.started[0]), 3),
            positions=job.positions,
        )

    def feedback(self, outcomes: Sequence[ObservedRow], request_id: str) -> None:
        """Write outcomes that were sent back.

        Raises:
            Problem: One names no row, or a column that is no outcome; or they cannot be written.
        """
        errors = [found for row, one in enumerate(outcomes) for found in self._mistakes(row, one)]
        if errors:
            raise Problem(422, "invalid-request", f"outcomes[{errors[0]['row']}]: {errors[0]['detail']}", errors)
        at = dt.datetime.now(dt.UTC)
        plain = [msgspec.to_builtins(one) for one in outcomes]
        try:
            record = self._rules.feedback(request_id=request_id, at=at, outcomes=plain)
        except MLAssetsError as error:
            raise Problem(422, "invalid-request", str(error)) from error
        try:
            self._log.write(self._pipeline, [record])
        except (OSError, MLAssetsError) as error:
            raise _not_kept(error) from error

    def _mistakes(self, row: int, outcome: ObservedRow) -> list[dict[str, Any]]:
        found = []
        if (outcome.id is None) == (outcome.key is None):
            found.append(("id", "an outcome has one of `id` and `key`"))
        if outcome.row is not None and outcome.id is None:
            found.append(("row", "`row` goes with `id`"))
        if outcome.key is not None and self._key and set(outcome.key) != self._key:
            found.append(("key", f"the key's columns are {', '.join(sorted(self._key))}"))
        for name, value in outcome.values.items():
            found += [(name, why) for why in self._wrong(name, value)]
        return [{"row": row, "field": field, "detail": detail} for field, detail in found]

    def _wrong(self, name: str, value: Any) -> list[str]:
        if self._outcomes is None or (value is None and name in self._outcomes):
            return []
        if name not in self._outcomes:
            return [f"{name!r} is no outcome column; those are {', '.join(self._outcomes)}"]
        word = self._outcomes[name]
        is_bool = isinstance(value, bool)
        fits = isinstance(value, TYPES.get(word, str)) and (word == "boolean") == is_bool
        return [] if fits else [f"a {word} was expected"]


def _not_kept(error: Exception) -> Problem:
    return Problem(503, "not-logged", str(error))
