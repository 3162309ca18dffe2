"""The server as a process: a SELECT's release, a function's release, and what it refuses."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.torture import malformed
from ml_assets.errors import FeatureError, ModelError, ServingError
from ml_assets.graph.release.packaging import pack
from ml_assets.ml import bundle, estimators, manifest, release
from ml_assets.server.scorer import Scorer
from ml_assets_tests.conftest import Project
from ml_assets_tests.server.helpers import Server, forged, started

ROW = {"loan": 1, "income": 20.5, "region": "A", "signed": "2024-01-01T05:00:00"}


@pytest.fixture(scope="module")
def folder(trained: Project) -> Path:
    return trained.paths.releases / "loans" / "1.0.0"


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    with started(log, ["-X", "importtime", "-m", "ml_assets.server", str(folder)]) as running:
        yield running


def test_rows_are_answered_as_by_the_batch_path_and_in_their_order(server: Server, folder: Path) -> None:
    golden = release.read_golden(folder)
    for rows, scores, decisions in (
        (golden.rows, golden.scores, golden.decisions),
        (golden.rows[::-1], golden.scores[::-1], golden.decisions[::-1]),
    ):
        status, answer = server.ask("/v1/loans/predict", {"rows": rows})
        assert (status, answer["version"], answer["decisions"]) == (200, "1.0.0", decisions)
        np.testing.assert_allclose(answer["scores"], scores, rtol=0, atol=1e-12)
    assert len(set(golden.scores)) > 50
    assert set(golden.decisions) == {"0", "1"}


def test_a_zone_and_a_missing_value_are_understood(server: Server) -> None:
    _, plain = server.ask("/v1/loans/predict", {"rows": [ROW]})
    _, zoned = server.ask("/v1/loans/predict", {"rows": [{**ROW, "signed": "2024-01-01T07:00:00+02:00"}]})
    assert {**plain, "id": zoned["id"]} == zoned
    status, missing = server.ask("/v1/loans/predict", {"rows": [{**ROW, "income": None, "region": "Ä"}]})
    assert status == 200
    assert missing["scores"] != plain["scores"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"rows": [{**ROW, "income": "much"}]}, 422, ["`float | null`", "$.rows[0].income"]),
        ({"rows": [ROW, {**ROW, "loan": 1.5}]}, 422, ["`int`", "$.rows[1].loan"]),
        ({"rows": [{**ROW, "region": None}]}, 422, ["$.rows[0].region"]),
        ({"rows": [{**ROW, "signed": "yesterday"}]}, 422, ["$.rows[0].signed"]),
        ({"rows": [{**ROW, "late_days": 3}]}, 422, ["unknown field `late_days`"]),
        ({"rows": [{"loan": 1, "region": "A", "signed": "2024-01-01T05:00:00"}]}, 422, ["required field `income`"]),
        ({"rows": [{**ROW, "loan": 2**63}]}, 422, ["$.rows[0].loan"]),
        ({"rows": []}, 422, ["length >= 1"]),
        ({"rows": [ROW] * 1001}, 422, ["length <= 1000"]),
        ({"row": [ROW]}, 422, ["`row`"]),
        ({"rows": [ROW, {**ROW, "signed": "0001-01-01T00:00:00+23:59"}]}, 422, ["years 1 to 9999", "$.rows[1].signed"]),
        ({"rows": [{**ROW, "signed": "9999-12-31T23:59:59-23:59"}]}, 422, ["$.rows[0].signed"]),
        (json.dumps({"rows": [ROW, ROW]}).encode().replace(b'"A"', b'"\xff"'), 400, ["no UTF-8", "$.rows[0].region"]),
        (b'\xff{"rows": []}', 400, ["no JSON"]),
        ({"rows": [{**ROW, "region": "\ud800"}]}, 400, ["no JSON"]),
        ("{", 400, ["no JSON"]),
        ("x" * (8 * 2**20 + 1), 413, ["8,388,608 bytes"]),
    ],
    ids=lambda value: value[:10] if isinstance(value, str) else None,
)
def test_what_is_no_request_is_refused_with_the_field(
    server: Server, body: object, status: int, words: list[str]
) -> None:
    found, answer = server.ask("/v1/loans/predict", body)
    assert found == status
    assert all(word in answer["detail"] for word in words), answer


def test_what_it_serves_and_takes_can_be_asked(server: Server) -> None:
    assert server.ask("/health/live") == (200, {"live": True})
    assert server.ask("/health/ready") == (200, {"ready": True, "pipelines": {"loans": {"champion": "1.0.0"}}})
    assert server.ask("/v1/loans/reload", {}) == (200, {"pipeline": "loans", "version": "1.0.0", "pinned": True})
    _, about = server.ask("/v1/loans")
    assert (about["aliases"], about["routes"]) == ({"champion": "1.0.0"}, {"champion": 1})
    assert about["lookups"]["lookups/region_history"] == {"newest_batch": "4", "from": "release"}
    assert about["constraints"]["columns"] == {"loan": {"min": 1}, "income": {"min": 0}, "region": {"regex": "[A-Z]"}}
    row = about["schema"]["$defs"]["Row_loans"]
    assert (row["required"], row["additionalProperties"]) == (["loan", "income", "region", "signed"], False)
    assert row["properties"]["income"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    _, openapi = server.ask("/openapi.json")
    assert "422" in openapi["paths"]["/v1/loans/predict"]["post"]["responses"]
    assert {"Row_loans", "Request_loans", "PredictResponse", "Problem"} <= openapi["components"]["schemas"].keys()


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "kind", "title"),
    [
        ("/v1", None, {"Origin": "http://other.example"}, 403, "foreign-origin", "Pages of other sites may not use"),
        ("/v1", None, {"Host": "other.example"}, 403, "foreign-host", "The Host header does not name this server"),
        ("/v1/loans/predict", None, {}, 405, "wrong-method", "The path does not take this method"),
        ("/docs", {}, {}, 405, "wrong-method", "The path does not take this method"),
        ("/v2", None, {}, 404, "not-found", "There is no such path, pipeline or version"),
        ("/v1/lone", None, {}, 404, "not-found", "There is no such path, pipeline or version"),
        ("/v1/loans/feedback", {"outcomes": []}, {}, 409, "no-log", "The pipeline keeps no prediction log"),
    ],
)
def test_a_problem_has_a_title_of_its_own(
    server: Server, path: str, body: object, headers: dict[str, str], status: int, kind: str, title: str
) -> None:
    found, problem = server.ask(path, body, headers)
    assert (found, problem["type"]) == (status, f"urn:ml_assets:problem:{kind}")
    assert problem["title"].startswith(title)


def test_a_method_that_a_path_does_not_take_is_answered_with_those_that_it_takes(server: Server) -> None:
    _, problem = server.ask("/v1/loans/predict")
    assert problem["detail"] == "/v1/loans/predict takes POST, not GET. /docs names all."


@pytest.mark.parametrize("path", ["/v1", "/v1/loans", "/metrics", "/health/ready", "/openapi.json", "/docs"])
def test_a_name_that_resolves_to_this_machine_is_told_nothing(server: Server, path: str) -> None:
    status, found = server.ask(path, headers={"Host": "rebound.example:8000"})
    assert (status, "Host header" in found["detail"]) == (403, True)
    rows = {"rows": [{}]}
    assert server.ask("/v1/loans/predict", rows, {"Host": "rebound.example:8000"})[0] == 403


def test_it_imports_no_dagster_no_pandas_and_no_pydantic(server: Server) -> None:
    assert server.ask("/v1/loans/predict", {"rows": [ROW]})[0] == 200
    lines = re.findall(r"^import time:[^|]+\|[^|]+\|\s+([\w.]+)$", server.log.read_text(), re.MULTILINE)
    tops = {line.partition(".")[0] for line in lines if line != "pandas"}  # an attempt at it is listed, too
    assert {"duckdb", "onnxruntime", "starlette"} <= tops
    assert not {"dagster", "pandas", "evidently", "pydantic", "skops", "sklearn"} & tops


FUNCTION = """
from ml_release_helper import half

def make(batch, factors):
    assert list(batch.columns) == ["batch", "row_id", "a", "c"]
    made = batch.merge(factors, on="c", how="left").sort_values("factor")  # another order than the request's
    made["x"] = half(made["a"]) * made["factor"]
    return made[["row_id", "x", "c"]]
"""


def function_release(folder: Path) -> Path:
    """A release of a features function and a model that skops keeps, made by hand."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.normal(size=60).round(3), "c": ["p", "q", "r"] * 20})
    features = rows.assign(x=rows["a"] / 2 * rows["c"].map({"p": 1.0, "q": 2.0, "r": 3.0}))[["x", "c"]]
    types = {"x": "number", "c": "category"}
    model = estimators.make_model("sklearn.neighbors.KNeighborsRegressor", {}, types, 0).fit(features, rows["a"])
    schema = bundle.Schema("regression", "a2", {"a": "number", "c": "string"}, types, [], None, "x.Y", ["a"])
    bundle.save(folder / "bundle", model, schema, {}, features)
    (folder / "references").mkdir()
    pd.DataFrame({"c": ["r", "p", "q"], "factor": [3.0, 1.0, 2.0]}).to_parquet(folder / "references/factors.parquet")
    facts = release.ServingFacts(
        "hand", "1.2.3", "7", None, "ml_release_features:make", ["batch", "factors"], {}, ["factors"]
    )
    scores = model.predict(features).tolist()
    release.write(folder, facts, release.Golden(rows.to_dict("records"), scores, list(map(str, scores))))
    sources = {"ml_release_features.py": FUNCTION, "ml_release_helper.py": "def half(x):\n    return x / 2\n"}
    pack.write_sources(folder / release.SOURCES, sources)
    manifest.write(folder, {})
    return folder


def test_a_function_and_a_scikit_learn_model_are_served_and_sigterm_ends_it(tmp_path: Path) -> None:
    folder = function_release(tmp_path / "release")
    golden = release.read_golden(folder)
    with pytest.raises(ServingError, match="Python code of its own, which runs only where its digest is known"):
        Scorer(folder)
    known = ["--sha256", manifest.sha256(folder / manifest.NAME)]
    with started(tmp_path / "log", ["-m", "ml_assets.server", str(folder), *known]) as server:
        status, answer = server.ask("/v1/hand/predict", {"rows": golden.rows[5:9]})
        assert (status, answer["scores"]) == (200, golden.scores[5:9])
        assert server.ask("/v1/hand/predict", {"rows": [{"a": "x", "c": "p"}]})[0] == 422
        assert server.end() == 0
        assert "Traceback" not in server.log.read_text()


def test_a_small_run_of_the_fuzzer(server: Server, folder: Path) -> None:
    rows = malformed.fuzzed(server.port, release.read_golden(folder).rows[0], requests=1_000, seed=7)
    assert sum(row.tried for row in rows) == 1_000
    assert {row.what for row in rows} >= {f"fuzzed {name}" for name in malformed.KINDS if name != "large"}
    for row in rows:
        assert row.held == row.tried, row


def test_the_fuzzer_sees_what_is_wrong() -> None:
    sound = malformed.posted(b"{}")
    problem = b'{"type": "x", "title": "y", "status": 422}'
    assert malformed.problem_of(sound, 422, "application/problem+json", problem) == ""
    assert malformed.problem_of(sound, 500, "application/problem+json", problem) == "500"
    assert malformed.problem_of(sound, 400, "application/problem+json", problem) == "400 without problem details"
    assert malformed.problem_of(sound, 422, "text/plain", b"no") == "422 without problem details"
    assert malformed.problem_of(sound, malformed.CLOSED, "", b"reset") == "no response (reset)"
    assert malformed.problem_of(malformed.Fuzz(b"x", is_whole=False), malformed.CLOSED, "", b"reset") == ""


def test_mistakes_end_with_a_text_and_no_traceback(folder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, words in (
            ([str(folder), "--port", port], "cannot be used"),
            ([str(tmp_path / "no"), "--port", "0"], "no such"),
            ([str(folder), "--port", "0", "--sha256", "0" * 64], "not the one that was registered"),
        ):
            command = [sys.executable, "-m", "ml_assets.server", *arguments]
            shown = subprocess.run(command, capture_output=True, text=True, check=False)
            assert shown.returncode == 1
            assert shown.stderr.startswith("Error: ")
            assert words in shown.stderr
            assert "Traceback" not in shown.stderr


def test_a_changed_file_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "release"
    forged(folder, copy, "1.0.0")
    (copy / "lookups" / "region_history.parquet").write_bytes(b"PAR1")
    with pytest.raises(ModelError, match="A file of the release was changed") as caught:
        Scorer(copy)
    assert "lookups/region_history.parquet" in str(caught.value)


def test_features_that_double_a_row_are_an_error(folder: Path) -> None:
    scorer = Scorer(folder)
    scorer.quick.features.con.set_authorizer(None)
    scorer.quick.features.con.execute("INSERT INTO regions SELECT * FROM regions")
    body = b'{"rows": [{"loan": 1, "income": 2, "region": "A", "signed": "2024-01-01T00:00:00"}]}'
    with pytest.raises(FeatureError, match="exactly one row"):
        scorer.score(scorer.decode(body).rows, scorer.quick)
    scorer.close()
