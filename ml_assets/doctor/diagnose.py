"""All checks in order. One that cannot be made is a problem of its own, and stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ml_assets.doctor import installation, instance, project
from ml_assets.doctor.finding import Finding, problem
from ml_assets.doctor.lake import lake
from ml_assets.errors import MLAssetsError
from ml_assets.escaping import one_line, without_secrets
from ml_assets.home import home_of
from ml_assets.lake.paths import Paths


def diagnose(paths: Paths, port: int) -> Iterator[Finding]:
    """What was found, each as soon as it is known.

    Args:
        paths: Folders of the project.
        port: Where `ml-assets ui` serves Dagster.
    """
    sensors: dict[str, int] = {}

    def of_project() -> list[Finding]:
        found, expected = project.sensors(paths)
        sensors.update(expected)
        return found

    home = home_of(paths)
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("python", installation.python),
        ("packages", installation.packages),
        ("duckdb", installation.extensions),
        ("disk", lambda: installation.disk(paths)),
        ("files", lambda: installation.files(paths)),
        ("lake", lambda: lake(paths)),
        ("project", of_project),
        ("secrets", lambda: project.variables(paths)),
        ("alerts", lambda: project.channels(paths)),
        ("dagster", lambda: instance.instance(paths, sensors)),
        ("ui", lambda: installation.port(port, instance.is_daemon_up(home))),
    ]
    for area, check in checks:
        yield from _checked(area, check)


def _checked(area: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except MLAssetsError as error:
        found = f": {error.found}" if error.found is not None else ""
        yield problem(area, _line(f"{error.rule}{found}"), error.fix or "correct what it names")
    except Exception as error:  # whatever a damaged installation may raise: the other checks are made all the same
        text = f"cannot be checked: {type(error).__name__}: {error}"
        yield problem(area, _line(text), "correct what it names; `ml-assets validate` may say more")


def _line(text: str) -> str:
    return without_secrets(one_line(text))[:500]
