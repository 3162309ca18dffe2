"""The project: does its YAML load, are the secrets that it names there, are its channels of alerts known?"""

from __future__ import annotations

from collections.abc import Iterator

from ml_assets.declared_alerts import all_alerts, missing_variables
from ml_assets.doctor.finding import Finding, ok, problem, warning
from ml_assets.errors import MLAssetsError
from ml_assets.graph.alerting.channels import service_name
from ml_assets.lake.paths import Paths
from ml_assets.project import Project, find_project, pipelines
from ml_assets.spec.operation import WEBHOOK, Channel


def sensors(paths: Paths) -> tuple[list[Finding], dict[str, int]]:
    """Whether every pipeline loads, and the sensors that there should be -> their least seconds between two ticks."""
    from ml_assets import broken
    from ml_assets.graph.staleness.nodes import pipelines_of
    from ml_assets.loading import definitions

    with broken.checked_by_caller():
        try:
            defs = definitions(paths.root)
        except MLAssetsError as error:
            return [problem("project", error.rule, error.fix or "ml-assets validate")], {}
    wrong = broken.problems_of(defs)
    found = [
        problem(name, f"the pipeline cannot be loaded: {text.splitlines()[0]}", "ml-assets validate")
        for name, text in wrong.items()
    ]
    loaded = list(pipelines_of(defs))
    if loaded:
        found.append(ok("project", f"loads: {', '.join(loaded)}"))
    elif not wrong:
        found.append(warning("project", "there is no pipeline in it", "ml-assets init"))
    return found, {one.name: one.minimum_interval_seconds or 30 for one in defs.sensors or ()}


def variables(paths: Paths) -> Iterator[Finding]:
    """Which environment variables does the YAML name that nobody has set?"""
    project = find_project(paths.root)
    if project is None:
        return
    missing: dict[str, list[str]] = {}
    for pipeline in pipelines(project):
        for name in missing_variables(project, pipeline):
            missing.setdefault(name, []).append(pipeline)
    for name, users in missing.items():
        text = f"{name} is not set; the YAML of {', '.join(users)} names it"
        yield warning("secrets", text, f"set {name} in .env, or in the environment of `ml-assets ui`")
    if not missing:
        yield ok("secrets", "every environment variable that the YAML names is set")


def channels(paths: Paths) -> Iterator[Finding]:
    """Is there a channel for alerts, of a service that is known? Nothing is sent."""
    project = find_project(paths.root)
    known = distinct_channels(project) if project else []
    for channel in known:
        service = "webhook" if channel.name == WEBHOOK else service_name(channel)
        if service is None:
            text = f"channel {channel.name}: Apprise knows no such address"
            yield problem("alerts", text, "correct its variable; docs/alerts.md has the forms of addresses")
        else:
            yield ok("alerts", f"channel {channel.name}: {service}, {channel.severity} and above")
    if not known:
        text = "no channel is configured: nobody is notified"
        yield warning("alerts", text, "write alerts.webhook or alerts.channels into defs.yaml: docs/alerts.md")


def distinct_channels(project: Project) -> list[Channel]:
    """The channels of all pipelines that have an address, each address once."""
    found: dict[str, Channel] = {}
    for alerts in all_alerts(project).values():
        for channel in alerts.receivers:
            if channel.address:
                found.setdefault(channel.address, channel)
    return list(found.values())
