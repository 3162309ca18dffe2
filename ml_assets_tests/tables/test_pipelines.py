"""Which pipelines there are in a lake, beside tables of other people."""

from __future__ import annotations

import pytest

from ml_assets.errors import LakeError, UnknownPipeline
from ml_assets.lake.lake import Commit, Lake, Rows
from ml_assets.tables.arrivals import ARRIVALS
from ml_assets.tables.pipelines import names, need_pipeline, only_pipeline


def begin(lake: Lake, pipeline: str) -> None:
    lake.append([ARRIVALS.rows(pipeline, [])], Commit(ARRIVALS.asset(pipeline)))


def own(lake: Lake, name: str) -> None:
    lake.append([Rows(name, {"batch": "VARCHAR"}, [])], Commit(name.replace(".", "/")))


def test_a_pipeline_is_what_has_listed_its_source(lake: Lake) -> None:
    own(lake, "reports.mean_score")
    own(lake, "airport.arrivals")
    assert names(lake) == []
    with pytest.raises(LakeError, match="none in the lake"):
        only_pipeline(lake)
    begin(lake, "loans")
    assert (names(lake), only_pipeline(lake)) == (["loans"], "loans")
    begin(lake, "flights")
    assert names(lake) == ["flights", "loans"]
    with pytest.raises(LakeError, match="flights, loans"):
        only_pipeline(lake)


def test_a_name_that_is_none_is_told_the_nearest_and_all(lake: Lake) -> None:
    begin(lake, "loans")
    begin(lake, "flights")
    own(lake, "reports.mean_score")
    need_pipeline(lake, "loans")
    for wrong in ("loan", "reports", "x; DROP TABLE y"):
        with pytest.raises(UnknownPipeline) as caught:
            need_pipeline(lake, wrong)
        assert caught.value.rule == f"There is no pipeline {wrong!r}."
        assert caught.value.found == "the pipelines flights, loans"
    with pytest.raises(UnknownPipeline, match=r"did you mean 'loans'\?"):
        need_pipeline(lake, "loan")
