"""A release folder is whole, the same each time, and holds what its server needs."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from ml_assets.errors import ModelError
from ml_assets.graph.release.packaging import pack, prove, supply_chain
from ml_assets.graph.release.packaging.golden import golden_rows
from ml_assets.lake.lake import Commit, Lake, Put
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle, manifest, release
from ml_assets.tables import evaluations, training_sets, versions
from ml_assets.tables.training_sets import Pin
from ml_assets_tests.conftest import Project, wait_until
from ml_assets_tests.server.helpers import forged


@pytest.fixture
def folder(trained: Project) -> Path:
    return trained.paths.releases / "loans" / "1.0.0"


def test_a_training_leaves_a_release(trained: Project, folder: Path) -> None:
    (row,) = trained.rows("SELECT * FROM {p}.release_candidate")
    assert (row["version"], row["engine"], row["engine_why"], row["folder"]) == ("1.0.0", "onnx", "", "loans/1.0.0")
    assert (row["started"], row["parity"], row["golden_rows"]) == (False, None, 150)
    assert (row["features_engine"], row["features_why"]) == ("sqlite", "")
    assert sorted(path.name for path in folder.iterdir()) == [
        "Dockerfile",
        "bundle",
        "features.sqlite.sql",
        "golden.json",
        "judged",
        "lookups",
        "manifest.json",
        "metrics.json",
        "model_card.md",
        "references",
        "release.json",
        "requirements.txt",
        "sbom.cdx.json",
        "server.zip",
    ]
    manifest.verify(folder, row["sha256"])
    golden = release.read_golden(folder)
    scores = trained.rows("SELECT * FROM {p}.features WHERE batch = '4' ORDER BY row_id")
    loaded = bundle.load(folder / "bundle")
    np.testing.assert_array_equal(loaded.scores(pd.DataFrame(scores)), golden.scores)
    assert all(set(row) == {"loan", "income", "region", "signed"} for row in golden.rows)
    assert "roc_auc" in (folder / "model_card.md").read_text()
    assert {finding["scope"] for finding in json.loads((folder / "metrics.json").read_text())} >= {"test", "baseline"}
    docker = (folder / "Dockerfile").read_text()
    assert "USER 10001" in docker
    assert docker.startswith(f"FROM {supply_chain.base_image()}\n")
    assert "HEALTHCHECK" in docker


def test_packing_again_keeps_a_sound_release_and_refuses_a_changed_one(trained: Project, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(trained.root, root)
    paths = Paths(root, root / "data")
    file = paths.releases / "loans" / "1.0.0" / "model_card.md"
    with Lake(paths.lake, read_only=True) as lake:
        pin = training_sets.newest(lake, "loans")
        model = versions.of_pin(lake, "loans", pin.pin_id)
        found = evaluations.findings(lake, "loans", model.version)
        first = pack.pack(lake, paths, trained.spec, pin, model, found, None)
        kept = (file.stat().st_ino, pack.pack(lake, paths, trained.spec, pin, model, found, None).sha256)
        assert kept == (file.stat().st_ino, first.sha256)
        sound = file.read_text()
        file.write_text("better than it is")
        with pytest.raises(ModelError, match="A file of the release was changed"):
            pack.pack(lake, paths, trained.spec, pin, model, found, None)
        manifest.write(file.parent, {"pipeline": "loans", "version": "1.0.0"})  # as who wants it to be registered
        with pytest.raises(ModelError, match="not the one that was registered") as caught:
            pack.pack(lake, paths, trained.spec, pin, model, found, None)
        assert "materialize loans/release_candidate again" in str(caught.value)
        shutil.rmtree(file.parent)
        again = pack.pack(lake, paths, trained.spec, pin, model, found, None)
        assert (file.read_text(), again.golden) == (sound, first.golden)


def test_a_release_that_nobody_registered_is_packed_anew(trained: Project, tmp_path: Path) -> None:
    """As a run leaves it that is killed between the folder and its row."""
    root = tmp_path / "project"
    shutil.copytree(trained.root, root)
    paths = Paths(root, root / "data")
    with Lake(paths.lake) as lake:
        pin = training_sets.newest(lake, "loans")
        model = versions.of_pin(lake, "loans", pin.pin_id)
        found = evaluations.findings(lake, "loans", model.version)
        lake.con.execute("DELETE FROM lake.loans.release_candidate")
        file = paths.releases / "loans" / "1.0.0" / "model_card.md"
        file.write_text("better than it is")
        manifest.write(file.parent, {})
        pack.pack(lake, paths, trained.spec, pin, model, found, None)
        assert "better than it is" not in file.read_text()


def test_golden_rows_have_missing_values_where_there_are_any(lake: Lake, trained: Project) -> None:
    rows = pd.DataFrame({"batch": "1", "row_id": range(400), "loan": range(400), "region": "A"})
    rows["income"] = np.where(rows["row_id"] % 10, rows["row_id"] / 7, np.nan)
    rows["signed"] = pd.Timestamp("2024-01-01")
    lake.con.register("made", rows)
    lake.con.execute(
        "CREATE TABLE rows_ AS SELECT * REPLACE (nullif(income, 'nan') AS income), NULL::DOUBLE late_days FROM made"
    )
    lake.replace([Put("loans.validated_data", "rows_", "1"), Put("loans.features", "rows_", "1")], Commit("loans/x"))
    pin = Pin("p", lake.snapshot(), {part: ["1"] for part in training_sets.PARTS}, {}, {}, "late_days > 1", {}, 0)
    schema = bundle.Schema("regression", "y", {}, {"income": "number"}, [], None, "x.Y")
    model = type("Twice", (), {"predict": lambda self, frame: frame["income"].fillna(-1).to_numpy() * 2})()
    golden = golden_rows(lake, trained.spec, pin, "1", bundle.Bundle(schema, model), most=100)
    incomes = [row["income"] for row in golden.rows]
    assert len(golden.rows) == 100
    assert 40 <= sum(income is None for income in incomes) <= 60
    assert golden.scores == [-2.0 if income is None else income * 2 for income in incomes]


def test_requirements_are_exact_and_follow_the_engine(trained: Project, folder: Path, tmp_path: Path) -> None:
    lines = list(supply_chain.pinned((folder / "requirements.txt").read_text()))
    assert lines == supply_chain.requirements(bundle.verify(folder / "bundle"), {})
    names = {line.partition("==")[0] for line in lines}
    assert {"duckdb", "msgspec", "onnxruntime", "pyarrow", "starlette", "uvicorn", "h11"} <= names
    assert not {"pandas", "scikit-learn", "dagster", "pydantic"} & names
    schema = bundle.Schema("binary", "late", {}, {}, [], None, "lightgbm.sklearn.LGBMClassifier")
    sources = {"credit.features.py": "import scipy\nfrom credit.help import x", "credit.help.py": "x = 1"}
    more = {line.partition("==")[0] for line in supply_chain.requirements(schema, sources)}
    assert {"pandas", "scikit-learn", "skops", "lightgbm", "scipy"} <= more
    pack.write_sources(tmp_path / "a.zip", sources)
    pack.write_sources(tmp_path / "b.zip", dict(reversed(sources.items())))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_sound_release_is_proven_in_a_process_of_its_own(folder: Path) -> None:
    proof = prove.prove(folder, release.read_golden(folder), is_class=True)
    assert proof.started, proof.log
    assert proof.parity <= 1e-12
    assert proof.start_s is not None
    assert proof.p50_ms is not None
    assert proof.p95_ms is not None
    assert proof.rss_mib is not None
    assert 0 < proof.p50_ms <= proof.p95_ms
    assert 20 < proof.rss_mib < 600


def test_the_server_never_outlives_its_proof(folder: Path, tmp_path: Path) -> None:
    with (
        (tmp_path / "log").open("w+") as log,
        pytest.raises(KeyboardInterrupt),
        prove._process(folder, log) as process,
    ):
        raise KeyboardInterrupt
    assert process.poll() is not None


def test_the_server_ends_when_the_process_that_proves_it_is_killed(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ml_assets.graph.release.packaging import prove\n"
        "with open(sys.argv[2], 'w+') as log, prove._process(Path(sys.argv[1]), log) as process:\n"
        "    print(process.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        try:
            wait_until(lambda: "ready on" in (tmp_path / "log").read_text(), 60, "the server is ready")
            parent.kill()
            assert server.wait(10) is None  # a process of another's: its exit code is not ours to know
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                server.kill()


def test_a_server_that_answers_otherwise_does_not_start_and_says_why(folder: Path, tmp_path: Path) -> None:
    forged(folder, tmp_path / "1.0.0", "1.0.0")
    facts, golden = release.read_facts(folder), release.read_golden(folder)
    wrong = release.Golden(golden.rows, [score + 0.001 for score in golden.scores], golden.decisions)
    release.write(tmp_path / "1.0.0", facts, wrong)
    manifest.write(tmp_path / "1.0.0", {})
    proof = prove.prove(tmp_path / "1.0.0", wrong, is_class=True)
    assert (proof.started, proof.parity, proof.p95_ms) == (False, float("inf"), None)
    assert "a difference of 0.001" in proof.log
    assert "Traceback" not in proof.log
    assert release.difference(golden, wrong.scores, golden.decisions, True) == pytest.approx(0.001)
