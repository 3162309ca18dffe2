"""The heartbeat, against a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ml_assets import loading
from ml_assets.graph.alerting.sensors import ENV_HEARTBEAT_URL, heartbeat_sensor
from ml_assets_tests.ports import free_port
from ml_assets_tests.receiver import receiving


def tick() -> str:
    sensor = heartbeat_sensor()
    assert sensor is not None
    assert sensor.minimum_interval_seconds == 60
    with dg.DagsterInstance.ephemeral() as instance:
        result: Any = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def test_each_tick_calls_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv(ENV_HEARTBEAT_URL, receiver.url)
        assert tick() == "heartbeat: answered 200"
        receiver.answers = [500]
        assert tick() == "heartbeat: answered 500"
        assert receiver.calls == ["/services/s3cret"] * 2


def test_no_failure_is_one_of_the_tick_and_none_shows_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (f"http://127.0.0.1:{free_port()}/s3cret", "s3cret"):
        monkeypatch.setenv(ENV_HEARTBEAT_URL, address)
        said = tick()
        assert "s3cret" not in said
        assert "no connection" in said or "not an http" in said


def test_it_is_defined_where_an_address_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_from_defs_folder", lambda _: dg.Definitions())
    monkeypatch.delenv(ENV_HEARTBEAT_URL, raising=False)
    assert not loading.load_from_defs_folder(Path()).sensors
    monkeypatch.setenv(ENV_HEARTBEAT_URL, "http://127.0.0.1:9/x")
    (sensor,) = loading.load_from_defs_folder(Path()).sensors or ()
    assert sensor.name == "ml_assets_heartbeat"
