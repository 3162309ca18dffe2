"""A training set above its limit is a sample, the same one everywhere; below it, nothing changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from ml_assets.graph.training import pinning
from ml_assets.lake.lake import Lake
from ml_assets.spec import PipelineSpec
from ml_assets.tables import training_sets
from ml_assets_tests.conftest import Project

BY_ROW = {"by": "random", "validation": 0.2, "test": 0.25}


@pytest.fixture
def lake(trained: Project) -> Iterator[Lake]:
    with Lake(trained.paths.lake, read_only=True) as opened:
        yield opened


def limited(project: Project, max_rows: int | None = 300, **changes: Any) -> PipelineSpec:
    return PipelineSpec.model_validate({**project.spec_dict, "training": {"max_rows": max_rows}, **changes})


def draw(batch: str, row_id: int, seed: int) -> float:
    digest = hashlib.md5(f"{batch}\x1f{row_id}\x1f{seed}\x1fsample".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little") / 2**64


def test_the_rows_of_a_sample_follow_from_their_ids_and_the_seed(trained: Project, lake: Lake) -> None:
    whole, pin = pinning.make_pin(lake, trained.spec), pinning.make_pin(lake, limited(trained))
    every, sampled = (training_sets.read(lake, "loans", one) for one in (whole, pin))
    assert (pin.available, pin.share) == (750, 0.4)
    ids = list(zip(every["batch"], every["row_id"], strict=True))
    places = [(batch, row_id) for batch, row_id in ids if draw(batch, row_id, pin.seed) < 0.4]
    assert list(zip(sampled["batch"], sampled["row_id"], strict=True)) == places
    assert len(sampled) == sum(pin.rows.values())
    assert pin.batches == whole.batches
    assert f"a sample of {len(places)} of 750 labelled rows (40.00% of each batch" in pin.sample


def test_below_the_limit_the_training_set_is_what_it_was(trained: Project, lake: Lake) -> None:
    again, same = pinning.make_pin(lake, trained.spec), pinning.make_pin(lake, limited(trained, 750))
    assert again == same
    assert (again.share, again.sample) == (None, "")


def test_without_a_limit_memory_sets_it(trained: Project, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "MAX_BYTES", 8 * 5 * 400)  # 5 features
    assert pinning.make_pin(lake, trained.spec).share == 400 / 750


def test_the_parts_of_a_sample_are_those_of_all_rows(trained: Project, lake: Lake) -> None:
    """A row that is in the sample is in the part that it would be in without one."""
    whole, pin = (pinning.make_pin(lake, limited(trained, most, split=BY_ROW)) for most in (None, 300))
    every, sampled = (training_sets.read(lake, "loans", one)[["batch", "row_id", "part"]] for one in (whole, pin))
    assert len(every) == 750
    assert len(sampled) == len(sampled.merge(every)) < 400
    assert set(sampled["part"]) == set(training_sets.PARTS)


@pytest.mark.parametrize("split", [{"by": "batch", "validation": 1, "test": 1}, BY_ROW, {**BY_ROW, "by": "stratified"}])
def test_many_rows_are_pinned_a_group_of_batches_at_a_time(
    trained: Project, lake: Lake, monkeypatch: pytest.MonkeyPatch, split: dict[str, Any]
) -> None:
    spec = limited(trained, split=split)
    whole = pinning.make_pin(lake, spec)
    monkeypatch.setattr(pinning, "ROWS_A_QUERY", 400)
    rows, ranges = lake.rows_by_batch("loans.features"), pinning._ranges(lake, spec)
    assert len(ranges) > 1
    assert [one for r in ranges for one in rows if r["first"] <= one <= r["last"]] == list(rows)
    assert pinning.make_pin(lake, spec) == whole
