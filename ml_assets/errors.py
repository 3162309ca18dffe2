"""Every error that a user can cause, as one tree.

MLAssetsError
├── UnknownPipeline   no pipeline has that name
├── SpecError         the YAML, or a SQL or Python file that it names, is wrong
├── SourceError       a folder, file, header or value of the source cannot be read
├── BatchRefused      a batch breaks more rules than the YAML tolerates, or an earlier stage refused it
├── CheckFailed       a check does not pass, and nothing that needs it runs
├── FeatureError      the features or lookup SELECT, or the features function, leaks, fails, or drops or doubles rows
├── TrainingError     too few batches, rows or labels, or an estimator that cannot be trained
├── ModelError        a bundle, model version or alias that is missing, changed or not to be trusted
├── TrackingError     the experiment tracker cannot be reached or rejects what it is sent
├── ServingError      a release that cannot be served, or a port that is taken
│   └── LogFull       a prediction cannot be logged, because the disk is full
└── LakeError         the lake cannot be opened, read or written
    ├── SchemaChange  data does not fit the table it is written to
    └── LakeBusy      another process kept the write lock for too long

What belongs here: errors that are the user's to fix, each with the rule, what was found, where, and the next step.
A bug of ours stays an ordinary exception with its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from ml_assets.escaping import visible, without_secrets

MOST_WORDS = 50  # of a list of valid ones


class MLAssetsError(Exception):
    """A problem that a user can fix. Its text shows no secret of an address, and control characters written out.

    Args:
        rule: What should hold, or what went wrong, as one sentence.
        found: What was there instead.
        where: Place names in order, such as pipeline, batch, file, column; empty values are left out.
        fix: The next step.
    """

    def __init__(
        self, rule: str, *, found: object = None, where: Mapping[str, object] | None = None, fix: str | None = None
    ) -> None:
        super().__init__(rule)
        self.rule = rule
        self.found = found
        self.where = {name: value for name, value in (where or {}).items() if value not in (None, "")}
        self.fix = fix

    def at(self, **where: object) -> MLAssetsError:
        """The same error with more places in front of those that it names."""
        self.where = {**{name: value for name, value in where.items() if value not in (None, "")}, **self.where}
        return self

    def __str__(self) -> str:
        lines = [self.rule]
        if self.found is not None:
            lines.append(f"  found: {self.found}")
        if self.where:
            lines.append("  where: " + ", ".join(f"{name} {value}" for name, value in self.where.items()))
        if self.fix:
            lines.append(f"  next:  {self.fix}")
        return without_secrets(visible("\n".join(lines)))


class UnknownPipeline(MLAssetsError):
    """No pipeline has that name: one text, wherever it was looked for.

    Args:
        name: As the user gave it.
        known: Every pipeline that there is.
        where: Place names, as in MLAssetsError.
    """

    def __init__(self, name: str, known: Iterable[str], where: Mapping[str, object] | None = None) -> None:
        words = sorted(set(known))
        near = nearest(name, words)
        super().__init__(
            f"There is no pipeline {name!r}.",
            found=f"the pipelines {', '.join(words)}" if words else "no pipeline at all",
            where=where,
            fix=f"did you mean {near!r}?" if near else "`ml-assets validate` lists the pipelines of the project.",
        )


class SpecError(MLAssetsError):
    """The YAML, or a SQL or Python file that it names, is wrong."""


class SourceError(MLAssetsError):
    """A folder, file, header or value of the source cannot be read."""


class BatchRefused(MLAssetsError):
    """A batch breaks more rules than the YAML tolerates, or an earlier stage refused it."""


class CheckFailed(MLAssetsError):
    """A check does not pass, and nothing that needs it runs."""


class FeatureError(MLAssetsError):
    """The features or a lookup SELECT, or the features function, leaks, fails, or drops or doubles rows."""


class TrainingError(MLAssetsError):
    """Too few batches, rows or labels, or an estimator that cannot be trained."""


class ModelError(MLAssetsError):
    """A bundle, model version or alias that is missing, changed or not to be trusted."""


class TrackingError(MLAssetsError):
    """The experiment tracker cannot be reached, or rejects what it is sent."""


class ServingError(MLAssetsError):
    """A release cannot be served, or a port is taken."""


class LogFull(ServingError):
    """An answer cannot be kept in the prediction log, because the disk is full."""


class LakeError(MLAssetsError):
    """The lake cannot be opened, read or written."""


class SchemaChange(LakeError):
    """Data does not fit the table that it is written to."""


class LakeBusy(LakeError):
    """Another process kept the write lock for too long."""


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """`did you mean 'target'?` for a near miss, else the valid words, of many the first."""
    words = sorted(set(valid))
    near = nearest(word, words)
    more = f" and {len(words) - MOST_WORDS:,} more" if len(words) > MOST_WORDS else ""
    return f"did you mean {near!r}?" if near else "valid: " + ", ".join(words[:MOST_WORDS]) + more


def nearest(word: str, words: Sequence[str]) -> str | None:
    """The valid word that was probably meant."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return next(iter([*near, *(one for one in words if one.lower() == word.lower())]), None)
