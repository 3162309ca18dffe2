"""The image of the project, the image of a release, and compose.yaml: what can be said of them without Docker."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ml_assets.cli import main
from ml_assets.graph.release.packaging import pack, supply_chain

ROOT = Path(__file__).parents[1]
PYTHON = (3, 11)
FILES = {
    "project": (ROOT / "Dockerfile").read_text(),
    "release": pack.DOCKERFILE.format(image=supply_chain.base_image(PYTHON), sources="server.zip"),
}


def instructions(text: str) -> list[tuple[str, str]]:
    """Words and arguments of a Dockerfile."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_an_image_has_a_pinned_base_and_runs_as_nobody_in_particular(text: str) -> None:
    steps = instructions(text)
    assert steps[0] == ("FROM", supply_chain.base_image(PYTHON))
    words = [word for word, _ in steps]
    users = [rest for word, rest in steps if word == "USER"]
    assert users == ["10001"], "a number: Kubernetes refuses names where root is refused"
    assert words.index("USER") > max(number for number, word in enumerate(words) if word in ("RUN", "COPY"))
    assert not re.search(r"(?i)\b(ENV|ARG)\b.*(password|secret|token|_key)", text)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_commands_are_lists_that_docker_can_read(text: str) -> None:
    """Docker takes what is no JSON for a line of shell, and says nothing."""
    commands = {word: rest for word, rest in instructions(text) if word in ("CMD", "ENTRYPOINT", "HEALTHCHECK")}
    assert commands
    for rest in commands.values():
        found = json.loads(rest[rest.index("[") :])
        assert all(isinstance(part, str) for part in found)
    assert "OMP_NUM_THREADS=1" in text


def test_a_release_passes_further_options_to_its_server() -> None:
    (entry,) = [json.loads(rest) for word, rest in instructions(FILES["release"]) if word == "ENTRYPOINT"]
    shell, option, script, name = entry
    assert (shell, option, name) == ("sh", "-c", "sh")
    assert shlex.split(script)[:6] == ["exec", "python", "-m", "ml_assets.server", ".", "--host"]
    assert script.endswith(" $*")


def test_services_are_reachable_from_this_machine_alone_and_keep_data_in_one_volume() -> None:
    file = compose()
    assert set(file["services"]) == {"dagster", "server"}
    assert file["volumes"] == {"data": None}
    for service in file["services"].values():
        assert service["user"] == "10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["volumes"] == ["data:/app/data"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        health, *command = service["healthcheck"]["test"]
        assert health == "CMD"
        inside = re.search(r"127\.0\.0\.1:(\d+)/", command[-1])
        assert inside
        assert inside[1] in {port.rpartition(":")[2] for port in service["ports"]}
        assert all("=" not in name for name in service.get("environment", [])), "values come from outside"


@pytest.mark.parametrize("service", ["dagster", "server"])
def test_commands_of_services_are_ours(service: str) -> None:
    image = next(json.loads(rest) for word, rest in instructions(FILES["project"]) if word == "CMD")
    program, name, *options = compose()["services"][service].get("command", image)
    assert program == "ml-assets"
    command = main.get_command(click.Context(main), name)
    assert command is not None
    command.make_context(name, list(options), resilient_parsing=False)


def test_what_the_image_copies_is_there_and_holds_no_data() -> None:
    rules = (ROOT / ".dockerignore").read_text().split()
    assert rules[0] == "*"
    wanted = [rule[1:] for rule in rules if rule.startswith("!")]
    assert all((ROOT / name).exists() for name in wanted)
    assert not {"data", ".env", ".git", ".venv"} & set(wanted)
