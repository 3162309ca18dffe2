"""The database of Dagster's records is the one that Dagster itself would use; test_cluster.py asks a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_assets import attention
from ml_assets.dagster_records import database, heartbeat
from ml_assets.errors import LakeBusy, SpecError


def home(folder: Path, storage: str) -> Path:
    (folder / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{storage}\n")
    return folder


@pytest.mark.parametrize(
    ("storage", "address"),
    [
        ("", None),
        ("storage: {sqlite: {base_dir: /elsewhere}}", None),
        ("storage: {postgres: {postgres_url: 'postgresql+psycopg2://a:b@h/d'}}", "postgresql://a:b@h/d"),
        ("storage: {postgres: {postgres_url: {env: RECORDS}}}", "postgresql://u@h:1/d?sslmode=require"),
        (
            "storage: {postgres: {postgres_db: {username: u, password: {env: WORD}, hostname: h, db_name: d}}}",
            "postgresql://u:p%40%2F@h:5432/d",
        ),
    ],
)
def test_the_address_as_libpq_takes_it(
    storage: str, address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDS", "postgresql+psycopg2://u@h:1/d?sslmode=require")
    monkeypatch.setenv("WORD", "p@/")
    assert database(home(tmp_path, storage)) == address


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECORDS", raising=False)
    with pytest.raises(SpecError, match="RECORDS"):
        database(home(tmp_path, "storage: {postgres: {postgres_url: {env: RECORDS}}}"))


def test_a_server_that_is_away_is_a_need_and_never_a_daemon_that_is_down(tmp_path: Path) -> None:
    folder = home(tmp_path, "storage: {postgres: {postgres_url: 'postgresql+psycopg2://u:pa55word@127.0.0.1:1/d'}}")
    with pytest.raises(LakeBusy, match="cannot be reached"):
        heartbeat(folder)
    (need,) = attention.of_installation(folder)
    assert need.kind == "daemon"
    assert need.text.startswith("nobody knows whether Dagster's daemon is up")
    assert "pa55word" not in need.text
