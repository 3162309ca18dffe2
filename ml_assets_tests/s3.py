"""A real S3 server of the tests' own, SeaweedFS; its program comes from a package."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_assets_tests.conftest import wait_until
from ml_assets_tests.ports import free_ports


@dataclass
class Server:
    """A server on this machine, with one bucket.

    Args:
        folder: Of its data.
        bucket: Its name, of three characters and more.
        ports: Those of its parts; the fourth is S3's.
    """

    folder: Path
    bucket: str
    ports: list[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Options of s3fs that reach it."""
        return {"endpoint_url": f"http://127.0.0.1:{self.ports[3]}", "key": "any", "secret": "any"}

    def environment(self) -> dict[str, str]:
        """The variables by which S3 clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.options["endpoint_url"],
            "AWS_ACCESS_KEY_ID": self.options["key"],
            "AWS_SECRET_ACCESS_KEY": self.options["secret"],
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start it, and wait until it takes a file."""
        program = shutil.which("weed") or str(Path(sys.executable).parent / "weed")
        names = ("-master.port", "-volume.port", "-filer.port", "-s3.port", "-s3.port.iceberg")
        command = [program, "server", "-s3", "-ip", "127.0.0.1", "-dir", str(self.folder)]
        command += ["-master.volumeSizeLimitMB", "64", "-s3.port.lance", "0"]
        command += [f"{name}={port}" for name, port in zip(names, self.ports, strict=True)]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._takes_a_file, 60, "the S3 server takes a file")

    def stop(self) -> None:
        """Kill it: a graceful end takes 25 s."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _takes_a_file(self) -> bool:
        import s3fs
        from botocore.exceptions import BotoCoreError

        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            filesystem = s3fs.S3FileSystem(**self.options, skip_instance_cache=True)
            if not filesystem.exists(self.bucket):
                filesystem.mkdir(self.bucket)
            with filesystem.open(f"{self.bucket}/probe", "wb") as probe:
                probe.write(b"1")
        except (OSError, BotoCoreError):
            return False
        return True


@contextlib.contextmanager
def running(folder: Path, bucket: str) -> Iterator[Server]:
    """A running server."""
    folder.mkdir(exist_ok=True)
    ports = [str(port) for port in free_ports(5, offsets=(0, 10_000))]  # the server adds 10,000 for its own calls
    made = Server(folder, bucket, ports)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # those that were told by the environment where this server is
