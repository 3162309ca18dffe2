"""Version numbers and aliases."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from ml_assets.errors import ModelError
from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import versions
from ml_assets.tables.versions import ModelVersion

BY = Commit(asset="loans/champion", run_id="run")


def model(version: str, schema: str = "s", method: str = "m", **changes: Any) -> ModelVersion:
    values: dict[str, Any] = {
        "version": version,
        "candidate": "tree",
        "pin_id": "pin",
        "snapshot_id": 1,
        "train_batches": ["1"],
        "recipe": {"schema": schema, "method": method},
        "fingerprint": version,
        "validation_score": 0.7,
        "threshold": 0.5,
        "bundle": f"loans/{version}",
        "bundle_sha256": "x",
    }
    return ModelVersion(**{**values, **changes})


@pytest.mark.parametrize(
    ("recipe", "number"),
    [
        ({"schema": "s", "method": "m"}, "1.2.4"),
        ({"schema": "s", "method": "other"}, "1.3.0"),
        ({"schema": "other", "method": "m"}, "2.0.0"),
        ({"schema": "other", "method": "other"}, "2.0.0"),
    ],
)
def test_a_version_number_says_what_changed(recipe: dict[str, str], number: str) -> None:
    assert versions.next_version(recipe, [model("1.2.2"), model("1.2.3")]) == number


def test_the_first_version_and_ten_after_nine() -> None:
    assert versions.next_version({"schema": "s", "method": "m"}, []) == "1.0.0"
    assert versions.next_version({"schema": "s", "method": "m"}, [model("1.0.10"), model("1.0.9")]) == "1.0.11"


def test_an_alias_names_what_its_newest_event_says(lake: Lake) -> None:
    assert versions.alias(lake, "loans", "champion") is None
    with pytest.raises(ModelError, match="no champion yet"):
        versions.need_alias(lake, "loans", "champion")
    for number in ("1.0.0", "1.0.1"):
        versions.register(lake, "loans", model(number).__dict__, BY)
        lake.append([versions.alias_event("loans", "champion", number, "better", "ana", "run")], BY)
    assert versions.need_alias(lake, "loans", "champion") == model("1.0.1")
    lake.append([versions.alias_event("loans", "champion", "1.0.0", "rollback", "ana", "run")], BY)
    assert versions.need_alias(lake, "loans", "champion").version == "1.0.0"
    assert lake.count("loans.alias_events") == 3
    assert versions.of_pin(lake, "loans", "pin").version == "1.0.1"
    with pytest.raises(ModelError, match="newest training set"):
        versions.of_pin(lake, "loans", "another")


def test_an_alias_names_what_it_named_at_a_moment(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = dt.datetime(2024, 5, 1, 12)
    for hours, number in enumerate(("1.0.0", "1.0.1")):
        versions.register(lake, "loans", model(number).__dict__, BY)
        monkeypatch.setattr(versions, "now", lambda hours=hours: noon + dt.timedelta(hours=hours))
        lake.append([versions.alias_event("loans", "champion", number, "better", "ana", "run")], BY)

    def named(moment: dt.datetime) -> str | None:
        found = versions.alias(lake, "loans", "champion", moment)
        return found.version if found else None

    assert named(noon - dt.timedelta(seconds=1)) is None
    assert named(noon) == "1.0.0"
    assert named(noon + dt.timedelta(hours=1)) == "1.0.1"
    berlin = dt.timezone(dt.timedelta(hours=2))
    assert named(dt.datetime(2024, 5, 1, 14, 30, tzinfo=berlin)) == "1.0.0"
    assert named(dt.datetime(2024, 5, 1, 14, 30)) == "1.0.1"
