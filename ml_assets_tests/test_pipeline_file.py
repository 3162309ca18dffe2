"""A file that is no YAML of a pipeline is refused with its line, whatever Dagster's loader would say or do."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from ml_assets import pipeline_file
from ml_assets.errors import SpecError

GOOD = "type: ml_assets.MLPipeline\nattributes:\n  name: loans\n"
NINE = "[{0},{0},{0},{0},{0},{0},{0},{0},{0}]"
BOMB = "bomb:\n- &a [x]\n" + "".join(f"- &{to} {NINE.format(f'*{of}')}\n" for of, to in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        ("- a\n- b\n", "no mapping of keys", 1),
        ("hello\n", "no mapping of keys.\n  found: 'hello'", 1),
        ("", "The YAML file is empty", None),
        ("# a comment\n", "The YAML file is empty", None),
        (GOOD + "---\n- a\n", "no mapping of keys.\n  found: a list", 5),
        ("attributes:\n  name: loans\n", "no key 'type'", 1),
        ("type: [a]\n", "`type` is the name of a component.\n  found: a list", 1),
        ("type: 5\n", "`type` is the name of a component", 1),
        ("type: ml_asset.MLPipeline\n", "did you mean 'ml_assets.MLPipeline'", 1),
        ("type: ml_assets.Pipeline\n", "did you mean 'ml_assets.MLPipeline'", 1),
        (GOOD.replace("attributes", "atributes"), "did you mean 'attributes'", 2),
        ("type: ml_assets.MLPipeline\nattributes: [1]\n", "`attributes` is no mapping", 2),
        (GOOD + "  1: 2\n", "A key of `attributes` is no text", 4),
        (GOOD + "  ? [a]\n  : 2\n", "A key is no single value", 4),
        (GOOD + "  name: other\n", "The key 'name' appears twice", 4),
        (GOOD.replace("  name", "\tname"), "Indent with spaces", 3),
        (GOOD + "  description: late: or not\n", "holds a colon in quotes", 4),
        (GOOD + "  description: *late\n", "begins with * in quotes", 4),
        (GOOD + "  key: [loan\n", "cannot be parsed", 5),
        (GOOD + "  key: !!python/object/apply:os.system [id]\n", "A tag has no meaning here", 4),
        (GOOD + "  key: !own x\n", "found: !own", 4),
        (GOOD + "  key: &key [*key]\n", "stands for what it is in itself", 4),
        (GOOD + "  description: a\x07b\n", "found: the control character U+0007", 4),
        (GOOD + "  key: " + "[" * 300_000, "more than 50 levels", 4),
        (BOMB + GOOD, "aliases of aliases", 1),
        ((GOOD + "  description: caf\xe9\n").encode("latin-1"), "not UTF-8.\n  found: the byte 0xe9", 4),
        (GOOD.encode("utf-16"), "not UTF-8", 1),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_yaml_of_a_pipeline_is_refused(
    tmp_path: Path, text: str | bytes, rule: str, line: int | None
) -> None:
    file = tmp_path / "defs.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        pipeline_file.check(file)
    assert rule in str(caught.value)
    assert caught.value.where["file"] in (f"{file}:{line}", file)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD + "---\n" + GOOD,
        GOOD + "  retrain: {on: [drift]}\n",
        GOOD + "  limits: &limits {min: 0}\n  more: {<<: *limits, max: 1}\n",
        "type: dagster.DefsFolderComponent\n",
        "type: own.components.Pipeline\n",
    ],
)
def test_what_yaml_and_dagster_allow_is_taken(tmp_path: Path, text: str) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(text, newline="")
    pipeline_file.check(file)


def test_a_corrected_file_is_checked_again(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text("- a\n")
    with pytest.raises(SpecError):
        pipeline_file.check(file)
    file.write_text(GOOD)
    pipeline_file.check(file)
