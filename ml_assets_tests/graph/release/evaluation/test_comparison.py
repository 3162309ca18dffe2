"""A new version is compared with the champion on rows that neither has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml_assets.graph.release.evaluation import evaluate
from ml_assets.graph.release.evaluation.comparison import Opponent, opponent
from ml_assets.graph.release.promotion import gates
from ml_assets.graph.training.pinning import make_pin
from ml_assets.lake.lake import Lake
from ml_assets.ml import bundle
from ml_assets.tables import releases, training_sets, versions
from ml_assets.tables.training_sets import PARTS, Pin
from ml_assets_tests.conftest import Project


@pytest.fixture
def lake(trained: Project) -> Iterator[Lake]:
    """A lake whose champion's judged model was fitted on batches 1 to 3, and whose served one on 4, too."""
    with Lake(trained.paths.lake, read_only=True) as opened:
        yield opened


def rows_of(*batches: str) -> pd.DataFrame:
    return pd.DataFrame([{"batch": batch, "row_id": row} for batch in batches for row in range(30)])


def against(lake: Lake, *batches: str) -> Opponent:
    return opponent(lake, "loans", versions.need_alias(lake, "loans", "champion"), rows_of(*batches))


def test_on_later_batches_the_champion_is_compared_as_it_serves(lake: Lake) -> None:
    found = against(lake, "5", "6")
    assert (found.served.serves, found.unseen.all(), found.note) == ("refit", True, "")


@pytest.mark.parametrize(
    ("batches", "unseen", "note"),
    [
        (["4"], 30, "its judged model: the one that serves knows 30 of the 30 test rows"),
        (["4", "5"], 60, "its judged model: the one that serves knows 30 of the 60 test rows"),
        (
            ["3", "4", "5"],
            60,
            "its judged model: the one that serves knows 60 of the 90 test rows, "
            "on the 60 test rows that it was not fitted on",
        ),
    ],
)
def test_where_the_served_model_knows_test_rows_its_judged_one_is_compared(
    lake: Lake, batches: Sequence[str], unseen: int, note: str
) -> None:
    found = against(lake, *batches)
    assert (found.served.serves, int(found.unseen.sum()), found.note) == ("judged", unseen, note)
    assert found.too_few("roc_auc") == []


def test_without_unseen_rows_there_is_no_comparison_and_the_gate_says_why(lake: Lake, trained: Project) -> None:
    (finding,) = against(lake, "1", "2").too_few("roc_auc")
    judged = {gate.gate: gate for gate in gates.judge(gates.Evidence(trained.spec, [finding]))}
    assert not judged["champion"].passed
    assert judged["champion"].detail == "champion 1.0.0 was fitted on all but 0 of the 60 test rows"


@pytest.mark.parametrize("by", ["random", "stratified"])
def test_rows_that_are_split_at_random_are_told_one_by_one(lake: Lake, by: str) -> None:
    pin = training_sets.newest(lake, "loans")
    batches = dict.fromkeys(PARTS, pin.all_batches)
    drawn = Pin(**{**pin.__dict__, "batches": batches, "split": {"by": by, "validation": 0.2, "test": 0.2}})
    parts = ", ".join(f"count(*) FILTER (part = '{part}')" for part in PARTS)
    counts = lake.con.execute(
        f"SELECT {parts} FROM ({training_sets.rows_sql('loans', drawn)})", training_sets.parameters(drawn)
    ).fetchall()[0]
    drawn = replace(drawn, rows=dict(zip(PARTS, counts, strict=True)))
    rows = training_sets.read(lake, "loans", drawn)
    assert training_sets.seen(lake, "loans", drawn, rows, PARTS).all()
    np.testing.assert_array_equal(training_sets.seen(lake, "loans", drawn, rows, ("train",)), rows["part"] == "train")
    expired = replace(drawn, snapshot_id=10**6)
    assert training_sets.seen(lake, "loans", expired, rows, ("test",)).all()  # nothing is taken for unseen by mistake


def gain(lake: Lake, project: Project, pin: Pin) -> tuple[float, str | None, float]:
    """What a copy of the champion's judged model gains over the champion, the note, and the champion's score."""
    champion = versions.need_alias(lake, "loans", "champion")
    found = evaluate.evaluate(
        lake, project.paths, project.spec, pin, replace(champion, version="1.0.1"), champion
    ).found
    score = next(f.value for f in found if (f.scope, f.metric) == ("champion", "roc_auc"))
    (finding,) = (f for f in found if f.scope == "gain_over_champion")
    return finding.value, finding.note, score


def test_retraining_on_the_same_batches_compares_two_judged_models(lake: Lake, trained: Project) -> None:
    """Compared with itself a model gains nothing; the served one would win, as it was fitted on the test rows."""
    value, note, _ = gain(lake, trained, training_sets.newest(lake, "loans"))
    assert value == 0
    assert note == "its judged model: the one that serves knows 150 of the 150 test rows"


def test_retraining_with_a_new_batch_compares_with_the_model_that_serves(lake: Lake, trained: Project) -> None:
    pin = make_pin(lake, trained.spec)
    assert pin.batches["test"] == ["5"]
    value, note, score = gain(lake, trained, pin)
    served = releases.served(lake, "loans", versions.need_alias(lake, "loans", "champion"))
    loaded = bundle.load(trained.paths.bundles / served.bundle, served.bundle_sha256)
    there = evaluate.predict(loaded, training_sets.read(lake, "loans", pin, ("test",)), "1.0.0")
    assert (note, score) == (None, there.score("roc_auc"))
    assert value != 0
