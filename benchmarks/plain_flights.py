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
from dataclasses import dataclass
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

Connection = duckdb.DuckDBPyConnection
Frame = pd.DataFrame
Array = np.ndarray[Any, Any]
Spec = dict[str, Any]
Types = dict[str, str]

SQL_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "timestamp": "TIMESTAMP"}
SEED = 0  # the default of tuning.seed
SEARCH = {"trials": 20, "folds": 3, "seconds": 300}  # the defaults of tuning
REPORT_ROWS = 20_000
RESAMPLES = 200


@dataclass(frozen=True)
class Model:
    """A fitted pipeline, its features by type, and the probability from which on a flight counts as late."""

    pipeline: Pipeline
    types: Types
    threshold: float = 0.5

    def scores(self, rows: Frame) -> Array:
        return np.asarray(self.pipeline.predict_proba(frame(rows, self.types))[:, 1])

    def decide(self, scores: Array) -> Array:
        return (scores >= self.threshold).astype(int)


def main(incoming: Path, weather: Path, pipeline: Path, out: Path) -> dict[str, Any]:
    """Everything from the first file to the last drift report; returns the numbers that `flights.py` compares."""
    spec: Spec = yaml.safe_load((pipeline / "defs.yaml").read_text())["attributes"]
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    con.execute("CREATE TABLE weather AS SELECT * FROM read_parquet(?)", [str(weather)])
    matched = {path: re.fullmatch(spec["source"]["pattern"], path.name) for path in incoming.iterdir()}
    files = dict(sorted((match["batch"], path) for path, match in matched.items() if match))
    quarantined = ingest(con, spec, files, out)
    make_features(con, spec, list(files), pipeline, out)
    train, validation, test = labelled(con, spec)
    types = {name: "category" if train[name].dtype == object else "number" for name in train.columns[2:-1]}
    tuned = [tune(spec, name, types, train, validation) for name in spec["candidates"]]
    best = max(tuned, key=lambda candidate: candidate["validation_score"])
    fitted = pd.concat([train, validation])
    fit = make_model(spec, best["name"], best["params"], types).fit(frame(fitted, types), fitted["label"])
    io.dump(fit, out / "model.skops")
    model = Model(fit, types, best["threshold"])
    evaluation = evaluate(spec, model, test, fitted, out)
    (out / "trials.json").write_text(json.dumps([tuned, evaluation], indent=2, default=float))
    score_and_watch(con, spec, model, fitted, out)
    return {
        "validated_rows": con.execute("SELECT count(*) FROM validated").fetchall()[0][0],
        "quarantined_rows": quarantined,
        "scored_rows": len(pd.read_parquet(out / "predictions", columns=["score"])),
        "drift_reports": len(list(out.glob("drift/*.html"))),
        "trials": sum(len(candidate["trials"]) for candidate in tuned),
        "champion": best["name"],
        "test_roc_auc": evaluation["roc_auc_score"],
    }


def write(con: Connection, sql: str, file: Path) -> None:
    """Rows of a query as one Parquet file."""
    file.parent.mkdir(exist_ok=True)
    con.sql(sql).write_parquet(str(file))


def ingest(con: Connection, spec: Spec, files: dict[str, Path], out: Path) -> int:
    """Type each file, list the rules that each row breaks, write the three tables by batch. Returns rows held back."""
    held = 0
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
        held += broken
    return held


def typed(spec: Spec) -> str:
    """SELECT of one file's declared columns in their types; parameters: batch, name, SHA-256 and path of the file."""
    values = {column["name"]: f"CAST({column['name']} AS {SQL_TYPES[column['type']]})" for column in spec["columns"]}
    values |= {c["name"]: f"nullif({values[c['name']]}, 'nan')" for c in spec["columns"] if c["type"] == "number"}
    columns = ", ".join(f"{value} AS {name}" for name, value in values.items())
    return f"""SELECT ? AS batch, row_number() OVER () AS row_id, {columns}, ? AS source_file, ? AS source_sha256
        FROM read_parquet(?)"""


def reasons(spec: Spec) -> str:
    """SQL list of the names of the rules that a row breaks; as in a CHECK, NULL passes."""
    rules = {**spec["rules"], "key": f"row_number() OVER (PARTITION BY {', '.join(spec['key'])} ORDER BY row_id) = 1"}
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
    cases = ", ".join(f"CASE WHEN ({sql}) IS FALSE THEN '{name}' END" for name, sql in rules.items())
    return f"list_filter([{cases}], lambda x: x IS NOT NULL)"


def make_features(con: Connection, spec: Spec, batches: list[str], pipeline: Path, out: Path) -> None:
    """Lookups over earlier batches only, then the features SELECT, by batch; all features stay in one table."""
    sql = (pipeline / spec["features"]).read_text()
    outcomes = ", ".join(column["name"] for column in spec["columns"] if column.get("outcome"))
    with_target = f"SELECT *, {spec['target']['sql']} AS {spec['target']['name']} FROM validated"
    for number, batch in enumerate(batches):
        for name, lookup in spec["lookups"].items():
            earlier = (*batches[max(0, number - lookup["batches"]) : number], "")
            con.execute(f"CREATE OR REPLACE VIEW history AS {with_target} WHERE batch IN {earlier}")
            con.execute(f"CREATE OR REPLACE TABLE {name} AS {(pipeline / lookup['sql']).read_text()}")
            write(con, f"FROM {name}", out / name / f"{batch}.parquet")
        visible = f"SELECT * EXCLUDE ({outcomes}) FROM validated WHERE batch = '{batch}'"
        con.execute(f"CREATE OR REPLACE VIEW batch AS {visible}")
        con.execute(f"CREATE OR REPLACE TABLE made AS SELECT '{batch}' AS batch, * FROM ({sql})")
        write(con, "FROM made", out / "features" / f"{batch}.parquet")
        con.execute("INSERT INTO features FROM made" if number else "CREATE TABLE features AS FROM made")


def labelled(con: Connection, spec: Spec) -> list[Frame]:
    """Train, validation and test rows: the last batches are for test, those before them for validation."""
    rows = con.execute(
        f"""SELECT f.*, CAST(v.label AS BIGINT) AS label FROM features f
        JOIN (SELECT batch, row_id, {spec["target"]["sql"]} AS label FROM validated) v USING (batch, row_id)
        WHERE label IS NOT NULL ORDER BY batch, row_id"""
    ).df()
    batches = sorted(rows["batch"].unique())
    test = len(batches) - spec["split"]["test"]
    validation = test - spec["split"]["validation"]
    parts = batches[:validation], batches[validation:test], batches[test:]
    return [rows[rows["batch"].isin(part)] for part in parts]


def frame(rows: Frame, types: Types) -> Frame:
    """The features alone: numbers as float64, missing text as NaN."""
    return pd.DataFrame(
        {n: rows[n].astype("float64") if kind == "number" else rows[n].fillna(np.nan) for n, kind in types.items()}
    )


def make_estimator(spec: Spec, name: str, params: dict[str, Any]) -> Any:
    """An unfitted estimator of a candidate."""
    module, _, kind = spec["candidates"][name]["estimator"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**params, random_state=SEED)


def make_preprocessor(estimator: Any, types: Types) -> ColumnTransformer:
    """Codes for trees, which take missing numbers; medians, unit variance and one column per category otherwise."""
    number: Any = "passthrough"
    category: Any = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    if not get_tags(estimator).input_tags.allow_nan:
        number = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
        category = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20)
    named = {kind: [name for name in types if types[name] == kind] for kind in ("number", "category")}
    return ColumnTransformer([("numbers", number, named["number"]), ("categories", category, named["category"])])


def make_model(spec: Spec, name: str, params: dict[str, Any], types: Types) -> Pipeline:
    """An unfitted candidate with its preprocessing."""
    estimator = make_estimator(spec, name, params)
    return Pipeline([("preprocess", make_preprocessor(estimator, types)), ("estimator", estimator)])


def tune(spec: Spec, name: str, types: Types, train: Frame, validation: Frame) -> dict[str, Any]:
    """Search a candidate on time-ordered folds of the train rows, refit it on them, score it on the validation rows."""
    candidate, tuning = spec["candidates"][name], {**SEARCH, **spec["tuning"]}
    features, y = frame(train, types), train["label"].to_numpy()
    folds = []
    for fit, held in TimeSeriesSplit(tuning["folds"]).split(features):
        preprocessor = make_preprocessor(make_estimator(spec, name, candidate["params"]), types)
        fitted = preprocessor.fit_transform(features.iloc[fit])
        folds.append((fitted, y[fit], preprocessor.transform(features.iloc[held]), y[held]))

    def objective(trial: optuna.Trial) -> float:
        params = {**candidate["params"], **suggested(trial, candidate["search"])}
        fits = [(make_estimator(spec, name, params).fit(x, t), held, truth) for x, t, held, truth in folds]
        return float(np.mean([m.roc_auc_score(truth, f.predict_proba(held)[:, 1]) for f, held, truth in fits]))

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED))
    study.optimize(objective, n_trials=tuning["trials"], timeout=tuning["seconds"])
    params = {**candidate["params"], **study.best_params}
    model = Model(make_model(spec, name, params, types).fit(features, y), types)
    truth, scores = validation["label"].to_numpy(), model.scores(validation)
    return {
        "name": name,
        "params": params,
        "trials": [{"params": trial.params, "score": trial.value} for trial in study.trials],
        "validation_score": m.roc_auc_score(truth, scores),
        "train_score": m.roc_auc_score(y, model.scores(train)),
        "baseline_score": baseline(train, validation),
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


def baseline(train: Frame, rows: Frame) -> float:
    """ROC AUC of a model that ignores every feature."""
    dummy = DummyClassifier(strategy="prior").fit(train[["row_id"]], train["label"])
    return float(m.roc_auc_score(rows["label"], dummy.predict_proba(rows[["row_id"]])[:, 1]))


def cheapest_threshold(truth: Array, scores: Array, false_positive: float, false_negative: float) -> float:
    """The score from which on deciding "late" costs least on these rows."""
    order = np.argsort(-scores, kind="stable")
    late, ranked = truth[order] == 1, scores[order]
    costs = false_positive * np.cumsum(~late) + false_negative * (late.sum() - np.cumsum(late))
    costs = np.where(np.r_[ranked[1:] != ranked[:-1], True], costs, np.inf)
    return float(ranked[int(np.argmin(costs))])


def evaluate(spec: Spec, model: Model, test: Frame, fitted: Frame, out: Path) -> dict[str, Any]:
    """Metrics, interval, slices and noise on test rows; Evidently's page and a picture of them."""
    truth, scores = test["label"].to_numpy(), model.scores(test)
    decided, rng = model.decide(scores), np.random.default_rng(SEED)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES)]
    slices = {}
    for column in spec["gates"]["slices"]["by"]:
        for value in sorted(test[column].unique()):
            rows = (test[column] == value).to_numpy()
            if len(np.unique(truth[rows])) == 2:
                slices[f"{column}={value}"] = m.roc_auc_score(truth[rows], scores[rows])
    noisy = frame(test, model.types)
    for name in noisy.select_dtypes("number"):
        spread = spec["gates"]["sensitivity"]["noise"] * noisy[name].std()
        noisy[name] += rng.normal(0, spread, len(noisy))
    classification_page(truth, decided, scores, out / "evaluation.html")
    evaluation_picture(truth, scores, slices, out / "evaluation.png")
    of_scores = (m.roc_auc_score, m.average_precision_score, m.log_loss, m.brier_score_loss)
    of_decisions = (m.accuracy_score, m.balanced_accuracy_score, m.precision_score, m.recall_score, m.f1_score)
    return {
        **{metric.__name__: metric(truth, scores) for metric in of_scores},
        **{metric.__name__: metric(truth, decided) for metric in of_decisions},
        "interval": list(np.quantile([m.roc_auc_score(truth[draw], scores[draw]) for draw in draws], [0.025, 0.975])),
        "slices": slices,
        "flips": np.mean(model.decide(model.scores(noisy)) != decided),
        "train": m.roc_auc_score(fitted["label"], model.scores(fitted)),
        "baseline": baseline(fitted, test),
    }


def classification_page(truth: Array, decided: Array, scores: Array, file: Path) -> None:
    """Evidently's classification report on at most 20,000 rows."""
    rows = pd.DataFrame({"target": truth, "prediction": decided, "probability": scores})
    rows = rows.sample(min(len(rows), REPORT_ROWS), random_state=SEED)
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
    left.plot(means["said"], means["came"], marker="o")
    left.set(title="Calibration", xlabel="predicted probability", ylabel="share that came true")
    right.barh(list(slices), list(slices.values()))
    figure.savefig(file, dpi=80)


def score_and_watch(con: Connection, spec: Spec, model: Model, fitted: Frame, out: Path) -> None:
    """Score every batch, and compare it with a sample of the rows that the model was fitted on."""
    sample, share = spec["monitoring"]["sample"], spec["monitoring"]["drift_share"]
    for name in ("predictions", "drift"):
        (out / name).mkdir()
    reference = fitted.sample(min(len(fitted), sample), random_state=SEED)
    reference = frame(reference, model.types).assign(prediction=model.scores(reference))
    for (batch,) in con.execute("SELECT DISTINCT batch FROM features ORDER BY batch").fetchall():
        rows = con.execute("SELECT * FROM features WHERE batch = ? ORDER BY row_id", [batch]).df()
        scores = model.scores(rows)
        made = rows[["batch", "row_id"]].assign(score=scores, decision=model.decide(scores), threshold=model.threshold)
        made.to_parquet(out / "predictions" / f"{batch}.parquet")
        current = frame(rows, model.types).assign(prediction=scores).sample(min(len(rows), sample), random_state=SEED)
        drift_report(current, reference, share, out / "drift" / batch)


def drift_report(current: Frame, reference: Frame, share: float, file: Path) -> None:
    """Evidently's drift page, its numbers as JSON and a picture; a column that is empty on one side is left out."""
    usable = [name for name in current if current[name].notna().any() and reference[name].notna().any()]
    numbers = list(reference[usable].select_dtypes("number"))
    categories = [name for name in usable if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    snapshot = Report([DataDriftPreset(drift_share=share)]).run(
        Dataset.from_pandas(current[usable], definition), Dataset.from_pandas(reference[usable], definition)
    )
    snapshot.save_html(f"{file}.html")
    found = [metric for metric in snapshot.dict()["metrics"] if metric["config"]["type"].endswith(":ValueDrift")]
    values = {metric["config"]["column"]: float(metric["value"]) for metric in found}
    Path(f"{file}.json").write_text(json.dumps(values))
    figure = Figure(figsize=(8, 1 + 0.25 * len(values)), layout="constrained")
    figure.subplots().barh(list(values), list(values.values()))
    figure.savefig(f"{file}.png", dpi=80)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Evidently's plots warn
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folders = [Path(argument) for argument in sys.argv[1:]]
    (folders[-1] / "result.json").write_text(json.dumps(main(*folders)))
