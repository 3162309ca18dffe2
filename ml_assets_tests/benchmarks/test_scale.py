"""The benchmarks of size on little data. What they say of time means nothing here, and is not looked at."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from benchmarks import skeleton
from benchmarks.cost import Cost
from benchmarks.scale import batches, copies, model, pipelines, project, rows
from ml_assets.lake.lake import Lake
from ml_assets.resources import ENV_STATIC
from ml_assets.tables.audit import read_trail
from ml_assets_tests.processes import exit_codes, started


def test_copied_batches_are_as_if_each_had_been_ingested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, files, snapshots and partitions: the sensor finds nothing to do, and the trail has each batch's writes."""
    folder = tmp_path / "project"
    project.make(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches.start(folder)
        monkeypatch.setattr(copies, "EVERY", dt.timedelta(days=20))
        batches.fill(folder, 4)
        defs, _, _ = batches.loaded(folder)
        (sensor,) = (one for one in defs.sensors if one.name == "sales_new_data")
        with batches.instance_of(folder) as instance, dg.build_sensor_context(instance=instance) as context:
            registered = instance.get_dynamic_partitions("sales_batches")
            found = sensor(context)
    names = ["00000", "00001", "00002", "00003"]
    assert sorted(registered) == names
    assert not found.run_requests
    assert "4 files, none new or changed" in str(found.skip_reason)
    with Lake(folder / "data" / "lake", read_only=True) as lake:
        assert len(set(lake.rows_by_batch("sales.features").values())) == 1
        assert lake.batches("sales.features") == names
        trail = read_trail(lake, "sales")
    made = {batch: {asset for asset, of in trail.writes if of == batch} for batch in names}
    assert all(made[name] == made["00000"] >= {"sales/raw_data", "sales/features"} for name in names)
    changed = {place: moments[-1] for place, (moments, _) in trail.contents.items()}
    read = {write.batch: write.knew for (asset, _), write in trail.writes.items() if asset == "sales/features"}
    assert all(read[name] >= changed["sales/validated_data", name] for name in names)
    assert exit_codes([started(batches.maintained, folder)]) == [0]
    with Lake(folder / "data" / "lake", read_only=True) as lake:  # the first one's snapshots have expired
        assert lake.fetch("SELECT count(DISTINCT batch), count(*) FROM lake.sales.raw_data") == [(4, 4 * batches.SMALL)]
    assert len(batches.by_turns({4: folder}, 0, 60, 1)["4"]) == 1
    with Lake(folder / "data" / "lake", read_only=True) as lake:
        assert lake.batches("sales.features")[4:] == ["00004", "00005", "00006"]


def test_each_number_of_batches_has_a_lake_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that are older than batches that were measured would let the maintenance expire one state at a time."""
    calls: list[tuple[str, str]] = []

    def call(function: Any, folder: Path, *_: object) -> Any:
        calls.append((folder.name, function.__name__))
        return 1.0 if function is batches.fill else dict.fromkeys(batches.COLUMNS, 0)

    monkeypatch.setattr(batches, "in_other_process", call)
    monkeypatch.setattr(batches, "by_turns", lambda lakes, *_: {str(size): [1.0] for size in lakes})
    monkeypatch.setenv(ENV_STATIC, "0")  # what it sets is set back
    found = batches.measure(tmp_path, [2, 3, 4])
    assert list(found["by_turns_cpu_s"]) == ["2", "4"]
    steps = ["start", "fill", "maintained", "costs", "maintained"]
    assert calls == [(size, step) for size in ("2", "3", "4") for step in steps]


def test_pipelines_are_declared_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Cost(wall_s=1.0, cpu_s=1.0, peak_mib=100.0, others_s=0.0)
    declared: list[str] = []

    def check(folder: Path) -> dict[str, Any]:
        declared.extend(sorted(file.parent.name for file in folder.rglob("defs.yaml")))
        return {"sensors": 2, "first_checks_s": 1, "first_checks_cpu_s": 1, "next_checks_s": 1,
                "next_checks_cpu_s": 1, "checks_s": 1, "checks_cpu_s": 31,
                "checks_by_sensor_cpu_s": {}}  # fmt: skip

    monkeypatch.setattr(pipelines, "in_other_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(pipelines, "measured", lambda *_: cost)
    monkeypatch.setattr(pipelines, "checks", check)
    found = pipelines.measure(tmp_path / "project", 2, 2)
    assert declared == ["p000", "p001", "sales"]
    assert not pipelines.report(found)
    assert pipelines.report({**found, "checks_cpu_s": 30})


def test_a_table_of_many_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, ...]] = []

    def materialize(_: Path, selected: str, *which: str, memory: str) -> Cost:
        asked.append((selected, *which, memory))
        is_large = selected == 'key:"sales/trained_model"'
        return Cost(wall_s=2.0, cpu_s=1.0, peak_mib=9000.0 if is_large else 500.0, others_s=0.0)

    facts = {"rows_validated": 39, "rows_scored": 39, "lake_mib": 1, "training_set": "all", "champion": "1.0.0",
             "roc_auc": [0.6, 0.5, 0.7]}  # fmt: skip
    monkeypatch.setattr(rows, "in_other_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(skeleton, "materialize", materialize)
    monkeypatch.setattr(rows, "left", lambda _: facts)
    found = rows.measure(tmp_path / "project", 40, 4, 2, "1GiB", training={"max_rows": 200})
    steps = len(asked)
    kept = tmp_path / "project" / "steps.json"
    kept.write_text(json.dumps(json.loads(kept.read_text())[:-1]))
    (tmp_path / "project" / "data" / "incoming").mkdir()
    assert rows.measure(tmp_path / "project", 40, 4, 2, "1GiB") == found
    assert len(asked) == steps + 1, "one that was stopped goes on"
    assert asked[1] == ('key:"sales/raw_data"', "--partition-range", "00001...00004", "1GiB")
    assert asked[-1] == ('key:"sales/performance_report"', "--partition-range", "00003...00004", "1GiB")
    assert not rows.report(found), "9,000 MiB are above the goal"
    assert "| all | 26.0 | 13.0 | 9,000 |" in capsys.readouterr().out


def test_figures_are_kept_beside_each_other(tmp_path: Path) -> None:
    for name in ("rows", "batches"):
        project.save(tmp_path / "kept.json", name, {"of": name})
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert {name: one["of"] for name, one in kept.items()} == {"rows": "rows", "batches": "batches"}
    assert all(one["machine"] and one["versions"] for one in kept.values())


def test_a_line_is_fitted_to_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    measured = [
        {"rows": millions * 1_000_000, "steps": [{"step": "raw_data", "cpu_s": 5 + 2 * millions + off}]}
        for millions, off in ((1, 0), (2, 3), (3, 0))
    ]
    found = model.fits([*measured, {"rows": 9, "steps": [{"step": "once", "cpu_s": 1}]}])
    assert set(found) == {"raw_data"}, "no line goes through one point"
    fit = found["raw_data"]
    assert (fit.s_a_million, fit.fixed_s, fit.error_s) == pytest.approx((2, 6, 2))
    model.report(found, 1_000_000_000)
    assert "| raw_data | 6.0 | 2.00 | 2.0 | 3 | 0.56 |" in capsys.readouterr().out
