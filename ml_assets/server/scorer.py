"""A loaded release: verified, its golden rows replayed, ready to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ml_assets import metrics
from ml_assets.errors import ServingError
from ml_assets.ml import bundle, manifest, release
from ml_assets.server.engines import opened
from ml_assets.server.requests import MAX_ROWS, PredictResponse, RowRefused, columns, not_utf8, request_type


class Scorer:
    """A release that predicts.

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
        self.facts = release.read_facts(folder)
        if self.facts.function is not None and sha256 is None:
            raise ServingError(
                "The release's features need Python code of its own, which runs only where its digest is known.",
                where={"folder": folder},
                fix="Give the --sha256 of its manifest.json; `ml-assets models show PIPELINE VERSION` prints it.",
            )
        # The release's manifest, where somebody vouches for it, vouches for the bundle's.
        self._bundle = bundle.load(folder / "bundle", files.get(f"bundle/{manifest.NAME}") if sha256 else None)
        self.schema = self._bundle.schema
        self._features = opened(folder, self.facts, self.schema)
        self.request = request_type(self.schema)
        self._decoder = msgspec.json.Decoder(self.request)
        self._replay(release.read_golden(folder))

    def predict(self, body: bytes | bytearray) -> PredictResponse:
        """Score the rows of a request.

        Raises:
            msgspec.ValidationError: The body is JSON, but not a request; the text names the field.
            msgspec.DecodeError: The body is no JSON.
            RowRefused: A row has values with which it cannot be computed; the text names it.
            FeatureError: The features are not one row for each row.
        """
        try:
            rows = self._decoder.decode(body).rows
        except UnicodeDecodeError:
            raise msgspec.DecodeError(not_utf8(body, self._decoder, self.schema)) from None
        features = self._features.of(columns(rows, self.schema), len(rows))
        scores = self._bundle.scores_of(features)
        is_number = np.isfinite(scores).reshape(len(rows), -1).all(axis=1)
        if not is_number.all():
            raise RowRefused("The model gives no score: it does not handle these values", int(is_number.argmin()))
        decisions = metrics.decide(scores, self.schema.kind, self.schema.threshold, self.schema.classes).astype(str)
        one_each = scores.max(axis=1) if self.schema.kind == "multiclass" else scores
        return PredictResponse(self.facts.version, one_each.tolist(), decisions.tolist())

    def close(self) -> None:
        """Free what the release holds."""
        self._features.close()

    def _replay(self, golden: release.Golden) -> None:
        """Refuse to serve where the golden rows are answered in another way than by the batch path."""
        scores: list[float] = []
        decisions: list[str] = []
        for start in range(0, len(golden.rows), MAX_ROWS):
            try:
                made = self.predict(msgspec.json.encode({"rows": golden.rows[start : start + MAX_ROWS]}))
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
