"""A loaded release: verified, its golden rows replayed, ready to score."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ml_assets import metrics
from ml_assets.errors import ServingError
from ml_assets.ml import bundle, manifest, release
from ml_assets.server import engines, explain
from ml_assets.server.constraints import Constraints
from ml_assets.server.requests import MAX_ROWS, RowRefused, Warned, columns, not_utf8, request_type
from ml_assets.server.without_pandas import allow_pandas

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scored:
    """What a release says of some rows.

    Args:
        features: Feature -> value of each row.
        scores: One a row.
        decisions: One a row.
        probabilities: Of each class (multiclass).
        warnings: Values that break a constraint of their column.
    """

    features: dict[str, list[Any]]
    scores: list[float]
    decisions: list[str]
    probabilities: list[list[float]] | None
    warnings: list[Warned]

    def part(self, start: int, end: int) -> Scored:
        """Some of the rows."""
        return Scored(
            {name: values[start:end] for name, values in self.features.items()},
            self.scores[start:end],
            self.decisions[start:end],
            self.probabilities and self.probabilities[start:end],
            [Warned(one.row - start, one.field, one.rule) for one in self.warnings if start <= one.row < end],
        )


class Engine:
    """Features for one thread at a time."""

    def __init__(self, features: engines.Engine) -> None:
        self.features, self.lock = features, threading.Lock()


class Scorer:
    """A release that scores.

    Args:
        folder: The release.
        sha256: Expected SHA-256 of its manifest, where a registry knows it. Code that the release brings along runs
            with it only: without it, anybody may have written the folder.

    Raises:
        ModelError: A file of the release is missing, changed or unknown, or the model is not trusted.
        ServingError: The features cannot be computed, or the golden rows are not answered as by the batch path.
    """

    def __init__(self, folder: Path, sha256: str | None = None) -> None:
        files = manifest.verify(folder, sha256, "release")
        self.folder, self.sha256, self.facts = folder, sha256, release.read_facts(folder)
        if self.facts.function is not None and sha256 is None:
            raise ServingError(
                "The release's features need Python code of its own, which runs only where its digest is known.",
                where={"folder": folder},
                fix="Give the --sha256 of its manifest.json; `ml-assets models show PIPELINE VERSION` prints it.",
            )
        if self.facts.function is not None or bundle.read_schema(folder / "bundle").engine != "onnx":
            allow_pandas()
        # The release's manifest, where somebody vouches for it, vouches for the bundle's.
        self._bundle = bundle.load(folder / "bundle", files.get(f"bundle/{manifest.NAME}") if sha256 else None)
        self.schema = self._bundle.schema
        self.constraints = Constraints(self.facts.constraints)
        self.request = request_type(self.schema, self.facts.pipeline)
        self._decoder = msgspec.json.Decoder(self.request)
        self.golden = release.read_golden(folder)
        self.background = explain.background(folder / "bundle", self.schema)
        self._users, self.is_retired = 0, False
        self.stamp: str | None = None  # of its lookups and references, where they are not the release's own
        self._open(None)
        try:
            self._replay()
        except BaseException:
            self.close()
            raise

    def _open(self, tables: Path | None) -> None:
        first = engines.opened(self.folder, self.facts, self.schema, tables)
        # One for requests of few rows, one for all others: those do not wait for these.
        beside = engines.opened(self.folder, self.facts, self.schema, tables, first)
        self.quick, self.slow = Engine(first), Engine(beside)
        self.row_wise, self.inline = first.row_wise, first.inline

    def over(self, tables: Path, stamp: str) -> Scorer:
        """The same release over other lookups and references.

        Args:
            tables: Their folder; what it does not have is the release's own.
            stamp: Names their content.

        Raises:
            ServingError: The features cannot be computed from them.
        """
        other = copy.copy(self)
        other._users, other.is_retired, other.stamp = 0, False, stamp
        other._open(tables)
        try:
            other.score(other.decode(msgspec.json.encode({"rows": self.golden.rows[:1]})).rows, other.quick)
        except Exception as error:
            other.close()
            raise ServingError("The golden rows cannot be answered over new lookups.", found=str(error)) from error
        return other

    def decode(self, body: bytes | bytearray) -> Any:
        """A request's `rows`, `keys` and `id`.

        Raises:
            msgspec.ValidationError: The body is JSON, but not a request; the text names the field.
            msgspec.DecodeError: The body is no JSON.
        """
        try:
            return self._decoder.decode(body)
        except UnicodeDecodeError:
            raise msgspec.DecodeError(not_utf8(body, self._decoder, self.schema)) from None

    def takes_requests_of(self, other: Scorer) -> bool:
        """Does a row that fits another release fit this one?"""
        return self.schema.columns == other.schema.columns and set(self.schema.nullable) == set(other.schema.nullable)

    def score(self, rows: Sequence[Any], engine: Engine) -> Scored:
        """Score decoded rows.

        Raises:
            RowRefused: A row has values with which it cannot be computed; the text names it.
            FeatureError: The features are not one row for each row.
        """
        values = columns(rows, self.schema)
        warnings = self.constraints.broken(values)
        with engine.lock:
            features = engine.features.of(values, len(rows))
        scores = self.scores_of(features)
        is_number = np.isfinite(scores).reshape(len(rows), -1).all(axis=1)
        if not is_number.all():
            raise RowRefused("The model gives no score: it does not handle these values", int(is_number.argmin()))
        decisions = metrics.decide(scores, self.schema.kind, self.schema.threshold, self.schema.classes).astype(str)
        is_multiclass = self.schema.kind == "multiclass"
        one_each = scores.max(axis=1) if is_multiclass else scores
        probabilities = scores.tolist() if is_multiclass else None
        return Scored(features, one_each.tolist(), decisions.tolist(), probabilities, warnings)

    def scores_of(self, features: Mapping[str, Sequence[Any]]) -> Array:
        """Scores of features, (rows,) or (rows, classes)."""
        return self._bundle.scores_of(features)

    def hold(self) -> None:
        """Somebody uses it; called on the event loop alone, as the two below."""
        self._users += 1

    def let_go(self) -> None:
        """Somebody does not use it any more."""
        self._users -= 1
        self._close_unused()

    def retire(self) -> None:
        """Free what it holds after the last request that uses it."""
        self.is_retired = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self.is_retired and not self._users:
            self.close()

    def close(self) -> None:
        """Free what the release holds."""
        for engine in (self.slow, self.quick):
            engine.features.close()

    def _replay(self) -> None:
        """Refuse to serve where the golden rows are answered in another way than by the batch path."""
        golden = self.golden
        scores: list[float] = []
        decisions: list[str] = []
        for start in range(0, len(golden.rows), MAX_ROWS):
            body = msgspec.json.encode({"rows": golden.rows[start : start + MAX_ROWS]})
            try:
                made = self.score(self.decode(body).rows, self.quick)
            except Exception as error:  # of the features function, for example
                found = f"{type(error).__name__}: {error}"
                raise ServingError("The golden rows cannot be answered.", found=found) from error
            scores, decisions = scores + made.scores, decisions + made.decisions
        gap = release.difference(golden, scores, decisions, self.schema.kind != "regression")
        if gap > self.facts.parity:
            raise ServingError(
                "The golden rows are answered in another way than by the batch path.",
                found=f"a difference of {gap:.3g}, allowed are {self.facts.parity:g}",
                where={"pipeline": self.facts.pipeline, "version": self.facts.version},
                fix="Were references or lookups changed since the batch was computed? Materialize its features again.",
            )

    def json_schema(self) -> dict[str, Any]:
        """The request as a JSON schema."""
        return msgspec.json.schema(self.request)
