"""The model card: what a version is for, what it was made of, how good it is and where not to trust it, as Markdown.

The headings are those of Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from ml_assets.escaping import Marked, as_written, markdown
from ml_assets.ml.bundle import LIBRARIES
from ml_assets.reporting import narrative
from ml_assets.spec import PipelineSpec
from ml_assets.tables.evaluations import EvaluatedNumber
from ml_assets.tables.releases import Served
from ml_assets.tables.training_sets import PARTS, TRAINING_SETS, Pin
from ml_assets.tables.versions import ModelVersion

MOST_ROWS = 30  # of a table: slices beyond it are counted


def model_card(
    spec: PipelineSpec,
    model: ModelVersion,
    pin: Pin,
    findings: Sequence[EvaluatedNumber],
    suspects: Sequence[str],
    served: Served | None = None,
    gates: Sequence[Mapping[str, object]] = (),
    decision: str = "",
) -> str:
    """The card of a version.

    Args:
        spec: The pipeline.
        model: The version.
        pin: Its training set.
        findings: Its evaluation.
        suspects: What may be a leak in it, one sentence each.
        served: The model that serves; None where that is not settled yet.
        gates: Rows with gate, limit, found, passed, where the version has been judged.
        decision: What became of it, in a sentence; empty where that is not known yet.
    """
    passed = [{**gate, "passed": "yes" if gate["passed"] else "no"} for gate in gates]
    parts = [
        f"# {spec.name} {model.version}",
        *([f"**{markdown(decision)}**"] if decision else []),
        *map(markdown, narrative.summary(spec, model.version, _champion(findings), findings, suspects)),
        *_section("Model details", _details(spec, model, served)),
        *_section("Intended use", [spec.description or "Not described: set `description` in the YAML."]),
        *_section("Training data", _training(spec, pin)),
        *_section("Evaluation data", _evaluation(pin)),
        *_section("Metrics", [_table(_metrics(findings))]),
        *_section("Decision rule", _decision(spec, model, findings)),
        *_section("Slices", [_table(_parts(findings, "slice"))]),
        *_section("Fairness", _fairness(findings)),
        *_section("Robustness", [_table(_robustness(findings))]),
        *_section("Feature importance", [_table(_importance(findings))]),
        *_section("Target leakage", _leaks(suspects)),
        *_section("Limitations", _bullets(narrative.limitations(spec, findings))),
        *_section("Gates", [_table(passed)]),
        *_section("Libraries", [_table(_libraries(model))]),
        *_section("How to rebuild it", _rebuild(spec, model, pin)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, parts: Iterable[str]) -> list[str]:
    """A heading and its text; nothing where there is no text."""
    text = [part for part in parts if part]
    return [f"## {title}", *text] if text else []


def _champion(findings: Sequence[EvaluatedNumber]) -> str | None:
    champion = next((f for f in findings if f.scope == "champion"), None)
    return champion.note if champion else None


def _details(spec: PipelineSpec, model: ModelVersion, served: Served | None) -> list[str]:
    rows = {
        "version": model.version,
        "owners": ", ".join(spec.owners) or "none named",
        "candidate": Marked(f"{markdown(model.candidate)}, `{model.estimator}`"),
        "parameters": ", ".join(f"{name}={as_written(value)}" for name, value in sorted(model.params.items()))
        or "defaults",
        "kind": spec.target.kind,
        **_bundles(spec, model, served),
        "recipe": Marked(", ".join(f"{name} `{digest}`" for name, digest in model.recipe.items())),
    }
    return [_table([{"what": name, "which": value} for name, value in rows.items()])]


def _bundles(spec: PipelineSpec, model: ModelVersion, served: Served | None) -> dict[str, str]:
    """The judged model's bundle, and that of the model that serves, where it is known by then."""
    judged = Marked(f"`{model.bundle}`, SHA-256 `{model.bundle_sha256}`")
    if served is None and spec.training.refit == "all":
        later = Marked("the refit on all labelled rows, once the gates have passed: `release_candidate` names it")
        return {"bundle of the judged model": judged, "model that serves": later}
    if served is None or served.bundle_sha256 == model.bundle_sha256:
        return {"bundle": judged}
    refit = Marked(f"`{served.bundle}`, SHA-256 `{served.bundle_sha256}`: the same recipe, refit on all labelled rows")
    own = Marked(f"{judged}: the scores below are its own")
    return {"bundle of the judged model": own, "bundle that serves": refit}


def _training(spec: PipelineSpec, pin: Pin) -> list[str]:
    rows = pin.rows["train"] + pin.rows["validation"]
    features = [{"feature": name, "type": kind} for name, kind in pin.features.items()]
    return [
        f"{rows:,} labelled rows of {len({*pin.batches['train'], *pin.batches['validation']})} batches, as pin "
        f"`{pin.pin_id}` of snapshot {pin.snapshot_id} of the lake. The label `{spec.target.name}` is `{pin.target}`.",
        f"Its training set is {pin.sample}." if pin.sample else "",
        _table([{"part": part, "rows": f"{pin.rows[part]:,}", "batches": _batches(pin, part)} for part in PARTS]),
        _table(features),
    ]


def _batches(pin: Pin, part: str) -> str:
    batches = pin.batches[part]
    return ", ".join(batches) if len(batches) <= 3 else f"{batches[0]} to {batches[-1]} ({len(batches)})"


def _evaluation(pin: Pin) -> list[str]:
    how = "the last batches" if pin.split["by"] == "batch" else f"sampled by row (split by: {pin.split['by']})"
    return [
        f"{pin.rows['test']:,} test rows, {how}, unseen by training and search. Intervals are percentiles of 200 "
        "bootstrap resamples; gains are paired on the same resamples."
    ]


def _metrics(findings: Sequence[EvaluatedNumber]) -> list[dict[str, object]]:
    scopes = ("test", "train", "baseline", "gain_over_baseline", "champion", "gain_over_champion", "calibration")
    return [
        {
            "scope": f.scope,
            "metric": f.metric,
            "value": f.value,
            "interval": narrative.interval(f),
            "rows": f"{f.rows:,}",
        }
        for f in findings
        if f.scope in scopes
    ]


def _decision(spec: PipelineSpec, model: ModelVersion, findings: Sequence[EvaluatedNumber]) -> list[str]:
    if spec.target.kind == "regression":
        return ["The decision is the predicted number."]
    if spec.target.kind == "multiclass":
        return ["The decision is the likeliest class."]
    threshold = 0.5 if model.threshold is None else model.threshold
    sentences = [f"`{spec.target.name}` is predicted 1 where its probability is {threshold:.4g} or more."]
    if spec.costs:
        costs = spec.costs
        sentences.append(
            "The threshold has the lowest cost on the validation rows: a false positive costs "
            f"{narrative.money(spec, costs.false_positive)}, "
            f"a false negative {narrative.money(spec, costs.false_negative)}."
        )
    money = [f for f in findings if f.metric == "cost"]
    return [
        " ".join(sentences),
        _table(
            [
                {
                    "what": f.scope,
                    "amount": narrative.money(spec, f.value),
                    "interval": narrative.interval(f),
                    "against": f.note or "",
                }
                for f in money
            ]
        ),
    ]


def _parts(findings: Sequence[EvaluatedNumber], scope: str) -> list[dict[str, object]]:
    parts = sorted((f for f in findings if f.scope == scope), key=lambda f: -f.rows)
    rows: list[dict[str, object]] = [
        {
            "part": f"{f.slice_by}={f.slice}",
            f.metric: f.value,
            "interval": narrative.interval(f),
            "rows": f"{f.rows:,}",
            "note": f.note or "",
        }
        for f in parts[:MOST_ROWS]
    ]
    if len(parts) > MOST_ROWS:
        rows.append({"part": f"{len(parts) - MOST_ROWS} smaller ones are left out"})
    return rows


def _fairness(findings: Sequence[EvaluatedNumber]) -> list[str]:
    gaps = [
        {
            "column": f.slice_by,
            "measure": f.metric,
            "largest gap": f.value,
            "interval": narrative.interval(f),
            "between": f.note,
        }
        for f in findings
        if f.scope == "fairness"
    ]
    return [_table(gaps), _table(_parts(findings, "group"))]


def _robustness(findings: Sequence[EvaluatedNumber]) -> list[dict[str, object]]:
    flips = [f for f in findings if f.metric == "flips"]
    ranked = sorted((f for f in flips if f.slice_by), key=lambda f: -f.value if f.value == f.value else -1.0)
    return [
        {
            "what": f"{f.scope}{' ' + f.slice if f.slice else ''}",
            "share of predictions that change": f.value,
            "rows": f"{f.rows:,}",
            "note": f.note or "",
        }
        for f in [*(f for f in flips if not f.slice_by), *ranked[:10]]
    ]


def _importance(findings: Sequence[EvaluatedNumber]) -> list[dict[str, object]]:
    ranked = sorted((f for f in findings if f.scope == "importance"), key=lambda f: -f.value)
    return [
        {"feature": f.slice, f"loss of {f.metric} when shuffled": f.value, "shuffles": narrative.interval(f)}
        for f in ranked[:15]
    ]


def _leaks(suspects: Sequence[str]) -> list[str]:
    return (
        _bullets(suspects)
        if suspects
        else ["None: no feature predicts the target alone, or is a proxy of it or of a key."]
    )


def _bullets(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {markdown(line)}" for line in lines)] if lines else []


def _libraries(model: ModelVersion) -> list[dict[str, object]]:
    own = model.estimator.split(".")[0]
    names = dict.fromkeys(("ml-assets", *LIBRARIES, *(() if own in ("", "sklearn") else (own,))))
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # a module of the project itself
    return [{"library": name, "version": number} for name, number in found.items()]


def _rebuild(spec: PipelineSpec, model: ModelVersion, pin: Pin) -> list[str]:
    return [
        f"The rows are pin `{pin.pin_id}` of `{TRAINING_SETS.of(spec.name)}`; the lake keeps its snapshot as long as "
        "the version is registered. With the same code, YAML and libraries the same pin gives the same model, and the "
        "registry returns this version:",
        f"```bash\ndagster asset materialize -m PROJECT.definitions --select 'key:\"{spec.name}/trained_model\"'\n```",
        f"Fingerprint of the training: `{model.fingerprint}`.",
    ]


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return markdown(value)
    text = narrative.number(value) if isinstance(value, float) else "" if value is None else str(value)
    return markdown(text)
