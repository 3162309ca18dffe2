"""deploy/: manifests fit the API's schemas, and what they name exists here. test_cluster.py runs compose's services."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import click
import pytest
import yaml

from ml_assets.cli import main
from ml_assets.home import ENV_DATABASE
from ml_assets.lake.paths import SETTINGS
from ml_assets.server.keys import Keys
from ml_assets.server.prometheus import TYPES
from ml_assets_tests import compose

pytestmark = pytest.mark.skipif(find_spec("kubernetes_validate") is None, reason="an extra of dev brings it")
FOLDER = compose.ROOT / "deploy"
KUBERNETES = FOLDER / "kubernetes"
API = "1.37"
SECRETS = {"PGPASSWORD": "p", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


def validate(document: Any) -> None:
    """Imported here: that takes 0.7 s of each process which collects tests."""
    import kubernetes_validate

    kubernetes_validate.validate(document, API, strict=True)


def documents() -> Iterator[Any]:
    named = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted(named) == sorted(file.name for file in KUBERNETES.iterdir() if file.name != "kustomization.yaml")
    for name in named:
        yield from yaml.safe_load_all((KUBERNETES / name).read_text())


def of_kind(kind: str) -> Any:
    (found,) = [one for one in documents() if one["kind"] == kind]
    return found


def values() -> Any:
    return yaml.safe_load((FOLDER / "dagster-values.yaml").read_text())


def services() -> dict[str, Any]:
    return dict(compose.read(SECRETS)["services"])


def check_ours(command: list[str]) -> None:
    """`ml-assets` takes these words."""
    program, name, *options = command
    assert program == "ml-assets"
    found = main.get_command(click.Context(main), name)
    assert found is not None
    found.make_context(name, list(options), resilient_parsing=False)


def check_confined(context: dict[str, Any]) -> None:
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("one", list(documents()), ids=lambda one: one["kind"])
def test_a_manifest_fits_the_schemas_of_the_api(one: Any) -> None:
    validate(one)


def test_a_mistake_in_a_manifest_is_found() -> None:
    wrong = of_kind("Deployment")
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(Exception, match="readynessProbe"):
        validate(wrong)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_renders_them_with_the_image_of_a_registry() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True)
    made = list(yaml.safe_load_all(done.stdout))
    assert sorted(one["kind"] for one in made) == sorted(one["kind"] for one in documents())
    (image,) = set(re.findall(r"image: (\S+)", done.stdout))
    assert image == "registry.example.com/ml-assets:0.1.0"
    for one in made:
        validate(one)


def test_the_server_of_the_manifests_is_the_one_that_there_is() -> None:
    pod = of_kind("Deployment")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    check_ours(container["command"])
    check_confined(container["securityContext"])
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    probes = {container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes <= set(_open_paths())
    assert {"requests", "limits"} <= set(container["resources"])
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["spec"]["volumes"]}
    labels = pod["metadata"]["labels"]
    for selector in (
        of_kind("Deployment")["spec"]["selector"]["matchLabels"],
        of_kind("Service")["spec"]["selector"],
        of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector == labels
    metrics = of_kind("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [TYPES[one["pods"]["metric"]["name"]][0] for one in metrics if one["type"] == "Pods"] == ["gauge"]
    assert (
        of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == of_kind("Deployment")["metadata"]["name"]
    )


def _open_paths() -> list[str]:
    """Paths of the server that need no key."""
    from ml_assets.server.app import app
    from ml_assets.server.counting import Counting
    from ml_assets.server.prometheus import Metrics, shared
    from ml_assets.server.registry import Registry

    made: Any = app(Registry([]), Keys([]), Counting(Metrics(shared(1))))
    return [route.path for route in made.routes]


def test_settings_and_secrets_are_apart() -> None:
    data = of_kind("ConfigMap")["data"]
    assert set(SETTINGS.values()) <= set(data)
    assert not [name for name in data if re.search("PASSWORD|SECRET|KEY", name)]
    for file in FOLDER.rglob("*.yaml"):
        assert not re.search(r"://[^/\s]*:[^/\s@]+@", file.read_text()), f"a password in {file.name}"


def test_values_of_the_chart_name_what_there_is() -> None:
    found = values()
    (deployment,) = found["dagster-user-deployments"]["deployments"]
    launcher = found["runLauncher"]["config"]["k8sRunLauncher"]
    of_container = ("securityContext", "resources", "volumeMounts")
    spec = {
        "securityContext": deployment["podSecurityContext"],
        "volumes": deployment["volumes"],
        "containers": [
            {
                "name": "code",
                "args": deployment["dagsterApiGrpcArgs"],
                "ports": [{"containerPort": deployment["port"]}],
                "envFrom": [
                    *({"configMapRef": one} for one in deployment["envConfigMaps"]),
                    *({"secretRef": one} for one in deployment["envSecrets"]),
                ],
                **{name: deployment[name] for name in of_container},
            },
            {"name": "run", **{name: launcher[name] for name in of_container}},
        ],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "code"}, "spec": spec}
    validate(pod)
    check_confined(deployment["securityContext"])
    assert launcher["runK8sConfig"]["podSpecConfig"]["securityContext"] == deployment["podSecurityContext"]
    for name in ("envConfigMaps", "envSecrets", "securityContext", "volumes", "volumeMounts"):
        assert launcher[name] == deployment[name], name
    # What a code server hands on would win: a run would be limited to its memory.
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": False}
    assert (launcher["resources"]["limits"], deployment["resources"]["limits"]) == (
        {"memory": "8Gi"},
        {"memory": "1Gi"},
    )
    project = tomllib.loads((compose.ROOT / "pyproject.toml").read_text())
    (dagster,) = [one for one in project["project"]["dependencies"] if one.startswith("dagster>=")]
    (version,) = re.findall(r"--version (\S+)", (FOLDER / "dagster-values.yaml").read_text())
    assert dagster.startswith(f"dagster>={version},")
    assert project["tool"]["dagster"]["module_name"] in deployment["dagsterApiGrpcArgs"]
    assert found["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"


def test_the_chart_has_the_limits_of_our_own_dagster_yaml() -> None:
    ours = yaml.safe_load((compose.ROOT / "ml_assets" / "dagster.yaml").read_text())
    theirs = values()
    limits, pools = theirs["concurrency"]["runs"]["tagConcurrencyLimits"], theirs["concurrency"]["pools"]
    assert limits == ours["concurrency"]["runs"]["tag_concurrency_limits"]
    assert {re.sub("[A-Z]", lambda big: f"_{big[0].lower()}", name): value for name, value in pools.items()} == (
        ours["concurrency"]["pools"]
    )
    retries = theirs["dagsterDaemon"]["runRetries"]
    assert retries["maxRetries"] == ours["run_retries"]["max_retries"]
    assert retries["retryOnAssetOrOpFailure"] == ours["run_retries"]["retry_on_asset_or_op_failure"]


def test_services_of_compose_are_confined_and_reachable_from_this_machine_alone() -> None:
    for name, service in services().items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if "build" not in service:
            assert not service.get("ports"), "what has no login of ours is for the other services"
            continue
        assert service["user"] == "10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        inside = [re.findall(r"127\.0\.0\.1:(\d+)/", str(service.get("healthcheck")))]
        assert {port for found in inside for port in found} <= {
            port.split(":")[-1] for port in service.get("ports", [])
        }
    assert services()["server"]["volumes"] == ["log:/app/data"], "it shares no disk with the pipelines"


def test_compose_takes_its_secrets_from_the_environment() -> None:
    with pytest.raises(KeyError):
        compose.read({})
    names = set(services()["code"]["environment"])
    assert {*SETTINGS.values(), ENV_DATABASE, *SECRETS} <= names
    check_ours(services()["server"]["command"])
    project = tomllib.loads((compose.ROOT / "pyproject.toml").read_text())["tool"]["dagster"]
    command = services()["code"]["command"]
    assert command[command.index("--module-name") + 1] == project["module_name"]
    assert command[command.index("--location-name") + 1] == project["code_location_name"]
