"""Every listing in a terminal of 80 columns: it fits, nothing is lost, and no short word is broken."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.lakes import Story, by, write
from ml_assets.cli import main
from ml_assets.cli.doctor import shown_finding
from ml_assets.cli.group import SafeConsole, console
from ml_assets.cli.listing import fitted, grid
from ml_assets.doctor.finding import problem
from ml_assets.lake.lake import Lake
from ml_assets.tables import alerts, retrain_events, training_sets
from ml_assets.tables.data import QUARANTINE, RAW_DATA, VALIDATED_DATA
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.retrain_events import Event
from ml_assets.tables.training_sets import Pin
from ml_assets.tables.trials import TRIALS

NAME = "customers_who_may_leave_within_the_next_quarter_of_the_year_x"[:60]  # as long as a name may be
BATCH = "2026-11.north & <b>süd</b>/Ærø 日本"  # what a file's name may contain
REASON = f"distance.max, type of select: '<i>{'x' * 90}</i>'"
MOMENT = dt.datetime(2026, 11, 22)
SHORT = 11  # as long as rolled_back
LISTINGS = [
    ["list"],
    ["list", NAME],
    ["list", NAME, "versions"],
    ["models", "list", NAME],
    ["models", "show", NAME, "1.0.1"],
    ["models", "diff", NAME, "1.0.0", "1.0.1"],
    ["trials", NAME],
    ["retraining", NAME],
    ["alerts", NAME],
    ["quarantine", "show", NAME],
    ["summary", NAME],
    ["lake", "snapshots", NAME],
    ["lake", "diff", "1", "7", NAME],
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose names, batches and texts are as long and odd as they may be."""
    root = tmp_path_factory.mktemp("width")
    (root / "pyproject.toml").touch()
    with Lake(root / "data/lake") as lake:
        write(lake, Story(NAME, batches=3, drifted=1, waits=True, rejected=1), MOMENT)
        rows = {"batch": "VARCHAR", "row_id": "BIGINT", "source_file": "VARCHAR", "select": "VARCHAR"}
        row = {"batch": BATCH, "row_id": 1, "source_file": f"{BATCH}.csv", "select": "<script>"}
        for table, types, extra in (
            (RAW_DATA, rows, {}),
            (VALIDATED_DATA, rows, {}),
            (QUARANTINE, {**rows, "reasons": "VARCHAR[]"}, {"reasons": REASON.split(", ")}),
        ):
            put = table.put(NAME, lake.values(types, [{**row, **extra}]), BATCH, reshape=True)
            lake.replace([put], by(NAME, table.name))
        decided = {
            "version": "1.0.0",
            "decision": "rolled_back",
            "decided_at": MOMENT,
            "decided_by": "Ana",
            "why": "<b>",
        }
        trial = {"pin_id": "pin", "candidate": "c" * 60, "trial": 7, "state": "complete", "metric": "roc_auc"}
        trial |= {"score": 0.7171, "seconds": 1234.5, "params": {"estimator__learning_rate": 0.0231, "x" * 50: 1}}
        trial |= {"fold_scores": [0.7, 0.75], "finished_at": MOMENT, "warning": "ConvergenceWarning: " + "more " * 30}
        event = Event("drift, decay", "wait", f"batch {BATCH} has drifted", "sensor", [BATCH] * 3, "1.0.1")
        lake.append(
            [
                DECISIONS.rows(NAME, [{**decided, "gates": "[]"}]),
                TRIALS.rows(NAME, [trial]),
            ],
            by(NAME, "champion"),
        )
        parts = {"train": [BATCH] * 9, "validation": ["1"], "test": ["2"]}
        pin = Pin("pin", 1, parts, dict.fromkeys(parts, 100), {"f" * 60: "number"}, '"select" > 0', {"by": "batch"}, 0)
        training_sets.save(lake, NAME, pin, by(NAME, "training_set"))
        retrain_events.record(lake, NAME, [event], by(NAME, "retrain"))
        alert = alerts.raised("rejected_file", f"{BATCH}.csv", f"{BATCH}.csv is rejected: {REASON}", [1])
        alerts.write(lake, NAME, [alert.become("gave_up", "https://hooks.example.org answered 500", MOMENT, 5)])
    return root


def printed(arguments: list[str], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(console, "width", width)
    shown = CliRunner().invoke(main, arguments)
    assert not shown.exception or isinstance(shown.exception, SystemExit), shown.exception
    assert "Error" not in shown.output, shown.output
    return shown.output


def check(narrow: str, wide: str) -> None:
    """The same text, in lines that fit."""
    assert [line for line in narrow.splitlines() if SafeConsole(width=200).measure(line).maximum > 80] == []
    assert sorted("".join(narrow.split())) == sorted("".join(wide.split()))
    assert {word for word in wide.split() if len(word) <= SHORT} <= set(narrow.split())


@pytest.mark.parametrize("arguments", LISTINGS, ids=lambda arguments: " ".join(arguments).replace(NAME, "NAME"))
def test_a_listing_fits(arguments: list[str], project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    wide = printed(arguments, 10_000, monkeypatch)
    assert len(wide.splitlines()) > 1
    check(printed(arguments, 80, monkeypatch), wide)


def test_a_finding_of_doctor_fits() -> None:
    found = problem("lake", "the catalog is not there: " + "word " * 40, "ml-assets lake recover, " + "then " * 30)
    shown = []
    for width in (80, 10_000):
        terminal = SafeConsole(width=width)
        with terminal.capture() as capture:
            terminal.print(shown_finding(found))
        shown.append(capture.get())
    check(*shown)
    assert shown[0].splitlines()[1].startswith(" " * 19), "below its own text"


def test_a_word_stays_whole_where_other_columns_can_give_way() -> None:
    terminal, shown = SafeConsole(width=60), grid("gate", "limit", "detail")
    shown.add_row("refit.negative_flips", "correct decisions that become wrong " * 3, "never predicting late " * 5)
    with terminal.capture() as capture:
        terminal.print(shown)
    assert "refit.negative_flips" in capture.get()


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (60, [10, 40, 9]),  # all fits
        (40, [10, 21, 9]),  # the widest gives way, down to
        (27, [10, 8, 9]),  # its longest word
        (20, [6, 7, 7]),  # where even words do not fit, they are broken
    ],
)
def test_the_widest_column_gives_way_first(room: int, expected: list[int]) -> None:
    assert fitted([10, 8, 9], [10, 40, 9], room) == expected
