"""Files on a real S3 server, listed, copied and ingested like local ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_assets.errors import ServingError, SourceError
from ml_assets.graph.deployment.publication import publish
from ml_assets.graph.ingest.arrivals import scan_source
from ml_assets.graph.ingest.files import place_of
from ml_assets.ml import manifest
from ml_assets.sources.remote import Place
from ml_assets_tests.conftest import REGIONS, Project, failure_text, loans
from ml_assets_tests.s3 import running

ONE_ATTEMPT = {"config_kwargs": {"retries": {"total_max_attempts": 1}, "connect_timeout": 1}}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Options of an S3 server on this machine, with a bucket `credit`."""
    with running(tmp_path_factory.mktemp("s3"), "credit") as server:
        yield server.options


def upload(options: dict[str, Any], path: str, data: bytes) -> None:
    import s3fs

    with s3fs.S3FileSystem(**options).open(path, "wb") as file:
        file.write(data)


def on_s3(project: Project, options: dict[str, Any], folder: str) -> Project:
    project.spec_dict["source"] |= {
        "path": f"s3://credit/{folder}",
        "pattern": r"batch=(?P<batch>\d+)/[^/]*\.(parquet|csv)",
        "options": options,
    }
    return project


def test_a_bucket_is_a_source(project: Project, s3: dict[str, Any], tmp_path: Path) -> None:
    on_s3(project, s3, "loans")
    for batch in (1, 2):
        loans(batch).to_parquet(tmp_path / "part.parquet")
        upload(s3, f"credit/loans/batch={batch}/part.parquet", (tmp_path / "part.parquet").read_bytes())
    upload(s3, "credit/loans/batch=3/part.csv", b"not,a,loan\n1,2,3\n")
    upload(s3, "credit/reference/regions.csv", REGIONS.encode())
    project.spec_dict["references"]["regions"] = {"path": "s3://credit/reference/regions.csv", "options": s3}
    result = project.tick("loans_new_data")
    assert result.run_requests[0].tags["ml_assets/batches"] == "1, 2"
    assert project.ingest("1", "2").success
    assert project.rows(
        "SELECT batch, source_file, count(*) AS n FROM {p}.features f JOIN {p}.raw_data r "
        "USING (batch, row_id) GROUP BY ALL ORDER BY ALL"
    ) == [
        {"batch": "1", "source_file": "batch=1/part.parquet", "n": 150},
        {"batch": "2", "source_file": "batch=2/part.parquet", "n": 150},
    ]
    assert project.value("SELECT count(unemployment) FROM {p}.features") == 300
    assert "lacks 4 of 5 declared columns" in project.value("SELECT error FROM {p}.arrivals WHERE status = 'refused'")
    copies = [path for path in project.paths.spool.rglob("*") if path.is_file()]
    assert copies == []  # what has been stored or refused leaves nothing behind


def test_changed_bytes_in_a_bucket_are_a_change(project: Project, s3: dict[str, Any]) -> None:
    on_s3(project, s3, "changes")
    place = place_of(project.spec, project.paths)
    upload(s3, "credit/changes/batch=1/a.csv", loans(1, rows=5).to_csv(index=False).encode())
    (first,) = scan_source(project.spec, place, {})
    assert (first.status, first.path) == ("ready", "s3://credit/changes/batch=1/a.csv")
    upload(s3, "credit/changes/batch=1/a.csv", loans(1, rows=6).to_csv(index=False).encode())
    (second,) = scan_source(project.spec, place, {first.path: first})
    assert second.sha256 != first.sha256


def test_what_is_wrong_with_an_address_is_said(project: Project, s3: dict[str, Any], tmp_path: Path) -> None:
    for address, options, text in (
        ("s3://nobody", s3, "does not exist"),
        ("s3://credit", {**s3, "endpoint_url": "http://127.0.0.1:9", **ONE_ATTEMPT}, "cannot be read"),
        ("gopher://x", {}, "cannot be opened"),
    ):
        with pytest.raises(SourceError, match=text):
            list(Place(address, tmp_path, options).entries(deep=True))
    on_s3(project, s3, "nothing-here")
    project.spec_dict["source"]["path"] = "s3://nobody/loans"
    assert "The folder does not exist" in str(project.tick("loans_new_data").skip_message)
    assert "s3://nobody/loans" in failure_text(project.arrive())


def test_a_release_is_published_to_a_bucket(
    s3: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the environment names the bucket's server and its keys."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3["secret"])
    monkeypatch.setattr(s3fs.S3FileSystem, "cachable", False)
    release, place = tmp_path / "release", "s3://credit/models/loans"
    for done, name in (("copied", "a"), ("there already", "a"), ("copied over other content", "b")):
        shutil.rmtree(release, ignore_errors=True)
        (release / "bundle").mkdir(parents=True)
        (release / "bundle" / name).write_text(name)
        digest = manifest.write(release, {})
        assert publish(release, digest, place, "1.0.0", {"version": name}) == done
        copy = tmp_path / f"copy {done}"
        bucket = s3fs.S3FileSystem(**s3, skip_instance_cache=True, use_listings_cache=False)
        bucket.get("credit/models/loans/1.0.0", str(copy), recursive=True)
        manifest.verify(copy, digest, "release")  # whole, and nothing else is there
        assert json.loads(bucket.cat_file("credit/models/loans/champion.json")) == {"version": name}
    with pytest.raises(ServingError, match="cannot be published"):
        publish(release, digest, "s3://nobody/models", "1.0.0", {})
