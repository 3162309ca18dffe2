"""The flights job as one plain script: no orchestrator, no lake, no registry, and nothing of ml_assets.

It does what the asset graph does with the same files, rules, SQL, fits and reports, and leaves its results as files:

    python benchmarks/plain_flights.py INCOMING WEATHER PIPELINE OUT

INCOMING is the folder of monthly files, PIPELINE the folder of defs.yaml and its SQL, OUT an empty folder.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import optuna
import pandas as pd
import yaml
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.presets import ClassificationPreset, DataDriftPreset
from matplotlib.figure import Figure
from sklearn import metrics as m
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils import get_tags
from skops import io

Spec = dict[str, Any]
Array = np.ndarray[Any, Any]

SQL_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "timestamp": "TIMESTAMP"}
REPORT_ROWS = 20_000
RESAMPLES = 200


def main(incoming: Path, weather: Path, pipeline: Path, out: Path) -> dict[str, Any]:
    """Everything from the first file to the last drift report; returns the numbers that `flights.py` compares."""
    spec: Spec = yaml.safe_load((pipeline / "defs.yaml").read_text())["attributes"]
    files = batch_files(incoming, spec["source"]["pattern"])
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    con.execute("CREATE TABLE weather AS SELECT * FROM read_parquet(?)", [str(weather)])
    counts = ingest(con, spec, files, out)
    make_features(con, spec, list(files), pipeline, out)
    rows = con.execute(
        f"""SELECT f.*, v.label FROM features f JOIN (SELECT batch, row_id, {spec["target"]["sql"]} AS label
        FROM validated) v USING (batch, row_id) WHERE label IS NOT NULL ORDER BY batch, row_id"""
    ).df()
    types = {name: "category" if rows[name].dtype == object else "number" for name in rows.columns[2:-1]}
    train, validation, test = split(rows, spec)
    tuned = [tune(spec, name, types, train, validation) for name in spec["candidates"]]
    best = max(tuned, key=lambda candidate: candidate["validation_score"])
    fitted = pd.concat([train, validation])
    model = make_model(spec, best["name"], best["params"], types).fit(frame(fitted, types), labels(fitted))
    io.dump(model, out / "model.skops")
    evaluation = evaluate(spec, model, best["threshold"], types, test, fitted, out)
    (out / "trials.json").write_text(json.dumps([tuned, evaluation], indent=2, default=float))
    scored = score_and_watch(con, spec, model, best["threshold"], types, fitted, list(files), out)
    return {
        **counts,
        "scored_rows": scored,
        "drift_reports": len(list(out.glob("drift/*.html"))),
        "trials": sum(len(candidate["trials"]) for candidate in tuned),
        "champion": best["name"],
        "test_roc_auc": evaluation["test"]["roc_auc"],
    }


def batch_files(incoming: Path, pattern: str) -> dict[str, Path]:
    """Batch -> its file, in the order of the batches."""
    matched = {path: re.fullmatch(pattern, path.name) for path in incoming.iterdir()}
    return dict(sorted((match["batch"], path) for path, match in matched.items() if match))


def write(con: duckdb.DuckDBPyConnection, sql: str, file: Path) -> None:
    """Rows of a query as one Parquet file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    con.sql(sql).write_parquet(str(file))


def ingest(con: duckdb.DuckDBPyConnection, spec: Spec, files: dict[str, Path], out: Path) -> dict[str, int]:
    """Type each file, list the broken rules of each row, and write raw, validated and quarantined rows by batch."""
    quarantined = 0
    for number, (batch, file) in enumerate(files.items()):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        con.execute(f"CREATE OR REPLACE TABLE raw AS {typed(spec)}", [batch, file.name, digest, str(file)])
        con.execute(f"CREATE OR REPLACE TABLE checked AS SELECT *, {reasons(spec)} AS reasons FROM raw")
        kept = "SELECT * EXCLUDE (reasons) FROM checked WHERE len(reasons) = 0"
        write(con, "FROM raw", out / "raw" / f"{batch}.parquet")
        write(con, kept, out / "validated" / f"{batch}.parquet")
        write(con, "FROM checked WHERE len(reasons) > 0", out / "quarantine" / f"{batch}.parquet")
        con.execute(f"INSERT INTO validated {kept}" if number else f"CREATE TABLE validated AS {kept}")
        rows, broken = con.execute("SELECT count(*), count(*) FILTER (len(reasons) > 0) FROM checked").fetchall()[0]
        if broken > rows * spec["tolerate"]["quarantined"]:
            raise ValueError(f"{batch}: {broken} of {rows} rows break a rule")
        quarantined += broken
    return {"validated_rows": count(con, "validated"), "quarantined_rows": quarantined}


def count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def typed(spec: Spec) -> str:
    """SELECT of one file's declared columns in their types; parameters: batch, name, SHA-256 and path of the file."""
    columns = []
    for column in spec["columns"]:
        value = f"CAST({column['name']} AS {SQL_TYPES[column['type']]})"
        columns.append((f"nullif({value}, 'nan')" if column["type"] == "number" else value) + f" AS {column['name']}")
    return f"""SELECT ? AS batch, row_number() OVER () AS row_id, {", ".join(columns)},
        ? AS source_file, ? AS source_sha256 FROM read_parquet(?)"""


def reasons(spec: Spec) -> str:
    """SQL list of the names of the rules that a row breaks; as in a CHECK, NULL passes."""
    rules = dict(spec["rules"])
    for column in spec["columns"]:
        name = column["name"]
        if not column.get("nullable"):
            rules[f"{name}.not_null"] = f"{name} IS NOT NULL"
        if "min" in column:
            rules[f"{name}.min"] = f"{name} >= {column['min']}"
        if "max" in column:
            rules[f"{name}.max"] = f"{name} <= {column['max']}"
        if "allowed" in column:
            rules[f"{name}.allowed"] = f"{name} IN {tuple(column['allowed'])}"
        if "regex" in column:
            rules[f"{name}.regex"] = f"regexp_full_match({name}, '{column['regex']}')"
    rules["key.unique"] = f"row_number() OVER (PARTITION BY {', '.join(spec['key'])} ORDER BY row_id) = 1"
    cases = ", ".join(f"CASE WHEN ({sql}) IS FALSE THEN '{name}' END" for name, sql in rules.items())
    return f"list_filter([{cases}], lambda x: x IS NOT NULL)"


def make_features(con: duckdb.DuckDBPyConnection, spec: Spec, batches: list[str], pipeline: Path, out: Path) -> None:
    """Lookups over earlier batches only, then the features SELECT, by batch; all features stay in one table."""
    sql = (pipeline / spec["features"]).read_text()
    outcomes = ", ".join(column["name"] for column in spec["columns"] if column.get("outcome"))
    for number, batch in enumerate(batches):
        for name, lookup in spec["lookups"].items():
            earlier = batches[max(0, number - lookup["batches"]) : number]
            con.execute(
                f"""CREATE OR REPLACE VIEW history AS SELECT *, {spec["target"]["sql"]} AS {spec["target"]["name"]}
                FROM validated WHERE batch IN {(*earlier, "")}"""
            )
            con.execute(f"CREATE OR REPLACE TABLE {name} AS {(pipeline / lookup['sql']).read_text()}")
            write(con, f"FROM {name}", out / name / f"{batch}.parquet")
        con.execute(
            f"CREATE OR REPLACE VIEW batch AS SELECT * EXCLUDE ({outcomes}) FROM validated WHERE batch = '{batch}'"
        )
        con.execute(f"CREATE OR REPLACE TABLE made AS SELECT '{batch}' AS batch, * FROM ({sql})")
        write(con, "FROM made", out / "features" / f"{batch}.parquet")
        con.execute("INSERT INTO features FROM made" if number else "CREATE TABLE features AS FROM made")
    if count(con, "features") != count(con, "validated"):
        raise ValueError("features must hold one row per validated row")


def split(rows: pd.DataFrame, spec: Spec) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Train, validation and test rows: the last batches are for test, those before them for validation."""
    batches = sorted(rows["batch"].unique())
    first_test = len(batches) - spec["split"]["test"]
    first_validation = first_test - spec["split"]["validation"]
    parts = batches[:first_validation], batches[first_validation:first_test], batches[first_test:]
    return tuple(rows[rows["batch"].isin(part)] for part in parts)  # type: ignore[return-value]


def frame(rows: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    """The features alone: numbers as float64, missing text as NaN."""
    return pd.DataFrame(
        {n: rows[n].astype("float64") if kind == "number" else rows[n].fillna(np.nan) for n, kind in types.items()}
    )


def labels(rows: pd.DataFrame) -> Array:
    return rows["label"].to_numpy(dtype=np.int64)


def make_estimator(spec: Spec, name: str, params: dict[str, Any]) -> Any:
    module, _, kind = spec["candidates"][name]["estimator"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**params, random_state=spec["tuning"].get("seed", 0))


def make_preprocessor(estimator: Any, types: dict[str, str]) -> ColumnTransformer:
    """Codes for trees, which take missing numbers; medians, unit variance and one column per category otherwise."""
    number: Any = "passthrough"
    category: Any = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    if not get_tags(estimator).input_tags.allow_nan:
        number = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
        category = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20)
    named = {kind: [name for name in types if types[name] == kind] for kind in ("number", "category")}
    return ColumnTransformer([("numbers", number, named["number"]), ("categories", category, named["category"])])


def make_model(spec: Spec, name: str, params: dict[str, Any], types: dict[str, str]) -> Pipeline:
    estimator = make_estimator(spec, name, params)
    return Pipeline([("preprocess", make_preprocessor(estimator, types)), ("estimator", estimator)])


def tune(spec: Spec, name: str, types: dict[str, str], train: pd.DataFrame, validation: pd.DataFrame) -> dict[str, Any]:
    """Search a candidate on time-ordered folds of the train rows, refit it on them, score it on the validation rows."""
    candidate, tuning = spec["candidates"][name], spec["tuning"]
    features, y = frame(train, types), labels(train)
    folds = []
    for fit, held in TimeSeriesSplit(tuning["folds"]).split(features):
        preprocessor = make_preprocessor(make_estimator(spec, name, candidate["params"]), types)
        fitted = preprocessor.fit_transform(features.iloc[fit])
        folds.append((fitted, y[fit], preprocessor.transform(features.iloc[held]), y[held]))

    def objective(trial: optuna.Trial) -> float:
        params = {**candidate["params"], **suggested(trial, candidate["search"])}
        fits = [(make_estimator(spec, name, params).fit(x, t), held, truth) for x, t, held, truth in folds]
        return float(np.mean([m.roc_auc_score(truth, f.predict_proba(held)[:, 1]) for f, held, truth in fits]))

    sampler = optuna.samplers.TPESampler(seed=tuning.get("seed", 0))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=tuning["trials"], timeout=tuning["seconds"])
    params = {**candidate["params"], **study.best_params}
    model = make_model(spec, name, params, types).fit(features, y)
    truth, scores = labels(validation), model.predict_proba(frame(validation, types))[:, 1]
    dummy = DummyClassifier(strategy="prior").fit(features, y).predict_proba(frame(validation, types))[:, 1]
    return {
        "name": name,
        "params": params,
        "trials": [{"params": trial.params, "score": trial.value} for trial in study.trials],
        "validation_score": float(m.roc_auc_score(truth, scores)),
        "train_score": float(m.roc_auc_score(y, model.predict_proba(features)[:, 1])),
        "baseline_score": float(m.roc_auc_score(truth, dummy)),
        "threshold": cheapest_threshold(truth, scores, **spec["costs"]),
    }


def suggested(trial: optuna.Trial, search: dict[str, Any]) -> dict[str, Any]:
    """A trial's parameters: whole bounds are searched as whole numbers."""
    values: dict[str, Any] = {}
    for name, space in search.items():
        whole = isinstance(space["low"], int) and isinstance(space["high"], int)
        suggest = trial.suggest_int if whole else trial.suggest_float
        values[name] = suggest(name, space["low"], space["high"], log=space.get("log", False))
    return values


def cheapest_threshold(truth: Array, scores: Array, false_positive: float, false_negative: float) -> float:
    """The score from which on deciding "late" costs least on these rows."""
    order = np.argsort(-scores, kind="stable")
    late, ranked = truth[order] == 1, scores[order]
    costs = false_positive * np.cumsum(~late) + false_negative * (late.sum() - np.cumsum(late))
    costs = np.where(np.r_[ranked[1:] != ranked[:-1], True], costs, np.inf)
    return float(ranked[int(np.argmin(costs))])


def evaluate(
    spec: Spec,
    model: Pipeline,
    threshold: float,
    types: dict[str, str],
    test: pd.DataFrame,
    fitted: pd.DataFrame,
    out: Path,
) -> dict[str, Any]:
    """Metrics, interval, slices and noise on test rows; Evidently's page and a picture of them."""
    features, truth, seed = frame(test, types), labels(test), spec["tuning"].get("seed", 0)
    scores = model.predict_proba(features)[:, 1]
    decided = (scores >= threshold).astype(int)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES)]
    interval = np.quantile([m.roc_auc_score(truth[draw], scores[draw]) for draw in draws], [0.025, 0.975])
    slices = {}
    for column in spec["gates"]["slices"]["by"]:
        for value in sorted(test[column].unique()):
            rows = (test[column] == value).to_numpy()
            if len(np.unique(truth[rows])) == 2:
                slices[f"{column}={value}"] = float(m.roc_auc_score(truth[rows], scores[rows]))
    for name in (name for name, kind in types.items() if kind == "number"):
        noise = spec["gates"]["sensitivity"]["noise"] * float(features[name].std())
        features[name] = features[name] + rng.normal(0, noise, len(features))
    noisy = (model.predict_proba(features)[:, 1] >= threshold).astype(int)
    classification_page(truth, decided, scores, seed, out / "evaluation.html")
    evaluation_picture(truth, scores, slices, out / "evaluation.png")
    fitted_scores = model.predict_proba(frame(fitted, types))[:, 1]
    dummy = DummyClassifier(strategy="prior").fit(fitted, labels(fitted)).predict_proba(test)[:, 1]
    return {
        "test": {
            "roc_auc": float(m.roc_auc_score(truth, scores)),
            "average_precision": m.average_precision_score(truth, scores),
            "accuracy": m.accuracy_score(truth, decided),
            "balanced_accuracy": m.balanced_accuracy_score(truth, decided),
            "precision": m.precision_score(truth, decided, zero_division=0),
            "recall": m.recall_score(truth, decided, zero_division=0),
            "f1": m.f1_score(truth, decided, zero_division=0),
            "log_loss": m.log_loss(truth, scores),
            "brier": m.brier_score_loss(truth, scores),
        },
        "interval": interval.tolist(),
        "slices": slices,
        "flips": float(np.mean(noisy != decided)),
        "train": m.roc_auc_score(labels(fitted), fitted_scores),
        "baseline": m.roc_auc_score(truth, dummy),
    }


def classification_page(truth: Array, decided: Array, scores: Array, seed: int, file: Path) -> None:
    """Evidently's classification report on at most 20,000 rows."""
    rows = pd.DataFrame({"target": truth, "prediction": decided, "probability": scores})
    rows = rows.sample(min(len(rows), REPORT_ROWS), random_state=seed)
    target = BinaryClassification(target="target", prediction_labels="prediction", prediction_probas="probability")
    definition = DataDefinition(
        categorical_columns=["target", "prediction"], numerical_columns=["probability"], classification=[target]
    )
    Report([ClassificationPreset()]).run(Dataset.from_pandas(rows, definition)).save_html(str(file))


def evaluation_picture(truth: Array, scores: Array, slices: dict[str, float], file: Path) -> None:
    """Calibration in ten bins, and ROC AUC by slice."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = pd.qcut(scores, 10, labels=False, duplicates="drop")
    means = pd.DataFrame({"said": scores, "came": truth}).groupby(bins).mean()
    left.plot([0, 1], [0, 1], color="lightgray")
    left.plot(means["said"], means["came"], marker="o")
    left.set(title="Calibration", xlabel="predicted probability", ylabel="share that came true")
    right.barh(list(slices)[:30], list(slices.values())[:30])
    right.set(title="ROC AUC by slice")
    figure.savefig(file, dpi=80)


def score_and_watch(
    con: duckdb.DuckDBPyConnection,
    spec: Spec,
    model: Pipeline,
    threshold: float,
    types: dict[str, str],
    fitted: pd.DataFrame,
    batches: list[str],
    out: Path,
) -> int:
    """Score every batch, and compare it with a sample of the rows that the model was fitted on. Returns rows scored."""
    sample, seed = spec["monitoring"]["sample"], spec["tuning"].get("seed", 0)
    (out / "predictions").mkdir()
    (out / "drift").mkdir()
    reference = frame(fitted.sample(min(len(fitted), sample), random_state=seed), types)
    reference["prediction"] = model.predict_proba(reference)[:, 1]
    scored = 0
    for batch in batches:
        rows = con.execute("SELECT * FROM features WHERE batch = ? ORDER BY row_id", [batch]).df()
        current = frame(rows, types)
        current["prediction"] = model.predict_proba(current)[:, 1]
        predictions = rows[["batch", "row_id"]].assign(score=current["prediction"], threshold=threshold)
        predictions["decision"] = (predictions["score"] >= threshold).astype(int)
        predictions.to_parquet(out / "predictions" / f"{batch}.parquet")
        current = current.sample(min(len(current), sample), random_state=seed)
        drift_report(current, reference, types, spec["monitoring"]["drift_share"], out / "drift" / batch)
        scored += len(rows)
    return scored


def drift_report(
    current: pd.DataFrame, reference: pd.DataFrame, types: dict[str, str], share: float, file: Path
) -> None:
    """Evidently's drift page, its numbers as JSON and a picture; a column that is empty on one side is left out."""
    usable = [name for name in current if current[name].notna().any() and reference[name].notna().any()]
    categories = [name for name in usable if types.get(name) == "category"]
    definition = DataDefinition(
        numerical_columns=[name for name in usable if name not in categories], categorical_columns=categories
    )
    snapshot = Report([DataDriftPreset(drift_share=share)]).run(
        Dataset.from_pandas(current[usable], definition), Dataset.from_pandas(reference[usable], definition)
    )
    snapshot.save_html(f"{file}.html")
    found = [metric for metric in snapshot.dict()["metrics"] if metric["config"]["type"].endswith(":ValueDrift")]
    values = {metric["config"]["column"]: float(metric["value"]) for metric in found}
    Path(f"{file}.json").write_text(json.dumps(values))
    figure = Figure(figsize=(8, 1 + 0.25 * len(values)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(values), list(values.values()))
    axes.set(title="Drift by column", xlabel="distance")
    figure.savefig(f"{file}.png", dpi=80)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Evidently's plots warn
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folders = [Path(argument) for argument in sys.argv[1:]]
    (folders[-1] / "result.json").write_text(json.dumps(main(*folders)))
