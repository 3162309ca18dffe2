"""`ml-assets experiment`: which of two versions is better, by what they predicted and what was observed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_assets.cli.group import console
from ml_assets.cli.listing import grid, json_option, print_json
from ml_assets.cli.pipelines import pipeline_argument, reading
from ml_assets.errors import ModelError, SpecError

if TYPE_CHECKING:
    from ml_assets.lake.lake import Lake
    from ml_assets.spec import PipelineSpec
    from ml_assets.tables.experiments import ComparedVersions

SOURCES = ("batches", "shadow", "routes")
WHAT = {
    "batches": "rows of batches, predicted by both",
    "shadow": "logged rows, predicted by both",
    "routes": "logged rows, divided by key",
}


@click.command(short_help="Which of two versions is better, so far.")
@pipeline_argument
@click.option(
    "--versions", nargs=2, metavar="FIRST SECOND", help="Compare these versions; default: champion and challenger."
)
@click.option("--source", type=click.Choice(SOURCES), help="What decides; default: the first of these that has rows.")
@click.option(
    "--smallest",
    type=click.FloatRange(min=0, min_open=True),
    help="The smallest difference of the loss per row that matters; a difference that is surely smaller decides, too.",
)
@json_option
def experiment(
    pipeline: str, versions: tuple[str, str] | None, source: str | None, smallest: float | None, as_json: bool
) -> None:
    """Which version is better, from predictions and outcomes. You may look at any time."""
    from ml_assets.tables import experiments

    spec = _spec(pipeline)
    with reading(pipeline) as lake:
        first, second = versions or _aliases(lake, pipeline)
        _check_versions(lake, pipeline, first, second)
        found = experiments.evidence(lake, spec, first, second)
    results = [_result(one, smallest) for one in found]
    deciding = next((one for one in results if (one["source"] == source if source else one["rows"][0])), results[0])
    result = {
        "pipeline": pipeline,
        "first": first,
        "second": second,
        "loss": experiments.loss_name(spec),
        "smallest": smallest,
        "verdict": deciding["verdict"],
        "decided_by": deciding["source"],
        "stop": _stop(deciding, smallest),
        "sources": results,
    }
    if as_json:
        print_json(result)
    else:
        _show(result, deciding)


def _spec(pipeline: str) -> PipelineSpec:
    from pydantic import ValidationError

    from ml_assets.project import declared, project_at
    from ml_assets.spec import PipelineSpec

    try:
        return PipelineSpec.model_validate(declared(project_at(Path.cwd()), pipeline))
    except ValidationError as error:
        raise SpecError(
            f"The YAML of {pipeline} is wrong.", found=error.errors()[0]["msg"], fix="`ml-assets validate` says where."
        ) from None


def _aliases(lake: Lake, pipeline: str) -> tuple[str, str]:
    from ml_assets.tables import versions

    champion, challenger = versions.need_alias(lake, pipeline, "champion"), versions.alias(lake, pipeline, "challenger")
    if challenger is None or challenger.version == champion.version:
        raise ModelError(
            "There is no challenger to compare with the champion.",
            where={"pipeline": pipeline, "champion": champion.version},
            fix=f"Name two versions: `ml-assets experiment {pipeline} --versions {champion.version} OTHER`.",
        )
    return champion.version, challenger.version


def _check_versions(lake: Lake, pipeline: str, first: str, second: str) -> None:
    from ml_assets.tables.versions import need_version

    for number in (first, second):
        need_version(lake, pipeline, number)
    if first == second:
        raise ModelError("An experiment needs two versions.", found=f"{first} twice")


def _result(one: ComparedVersions, smallest: float | None) -> dict[str, Any]:
    """What a source says, with what is still needed."""
    from ml_assets.ml import sequential

    found: dict[str, Any] = {**asdict(one), "verdict": "not yet decided"}
    del found["effect"]
    if one.effect is None:
        return found
    low, high = sequential.interval(one.effect)
    needed = {
        "at_present_effect": sequential.rows_until_decided(one.effect),
        "at_most": sequential.rows_for(smallest / 2, one.effect.variance) if smallest else None,
    }
    return found | {
        "verdict": sequential.verdict(one.effect, smallest),
        "gain": one.effect.mean,
        "low": low,
        "high": high,
        "confidence": sequential.CONFIDENCE,
        "rows_needed": {
            name: None if rows is None else max(0, rows - one.effect.rows) for name, rows in needed.items()
        },
    }


def _stop(one: dict[str, Any], smallest: float | None) -> str:
    """When the experiment ends."""
    if one["verdict"] != "not yet decided":
        return "It is decided: stop."
    rule = "Look whenever you like, and stop as soon as it says better or worse."
    if smallest is None:
        return f"{rule} Without --smallest it may go on for ever where there is no difference."
    most = one.get("rows_needed", {}).get("at_most")
    return rule if most is None else f"{rule} After {most:,} more rows like these it is decided in any case."


def _show(result: dict[str, Any], deciding: dict[str, Any]) -> None:
    first, second = result["first"], result["second"]
    console.print(f"{result['pipeline']}: {second} against {first}, by {result['loss']} per row\n")
    shown = grid("source", f"rows {first}", f"rows {second}", f"loss {first}", f"loss {second}", "gain", "verdict")
    for one in result["sources"]:
        if one["rows"][0]:
            gain = f"{one['gain']:+.4g} [{one['low']:+.4g}, {one['high']:+.4g}]"
            numbers = [f"{rows:,}" for rows in one["rows"]] + [f"{loss:.4g}" for loss in one["losses"]]
            shown.add_row(WHAT[one["source"]], *numbers, gain, one["verdict"])
        else:
            shown.add_row(WHAT[one["source"]], "0", "0", "", "", "", "no rows with known outcomes")
    console.print(shown)
    if left_out := sum(one["left_out"] for one in result["sources"]):
        console.print(f"{left_out:,} rows of batches that one of them was trained or evaluated on are left out.")
    console.print(f"\n{_sentence(result, deciding)}")
    console.print(result["stop"])


def _sentence(result: dict[str, Any], one: dict[str, Any]) -> str:
    second, verdict = result["second"], one["verdict"]
    if "gain" not in one:
        return f"{second} is not yet decided: there are no rows with known outcomes."
    between = f"95% between {one['low']:.4g} and {one['high']:.4g}"
    if verdict in ("better", "worse"):
        word = "less" if verdict == "better" else "more"
        return f"{second} is {verdict}: it loses {abs(one['gain']):.4g} {word} per row (gain {between})."
    if verdict == "no difference that matters":
        return f"{second} makes no difference that matters: gain {one['gain']:.4g} per row, {between}."
    needed = one["rows_needed"]["at_present_effect"]
    more = "more than can be said" if needed is None else f"about {needed:,} more rows"
    return f"{second} is not yet decided: gain {one['gain']:.4g} per row, {between}. At this gain: {more}."
