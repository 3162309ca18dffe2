"""A real S3 server of the tests' own, SeaweedFS; its program comes from a package."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_assets_tests.conftest import wait_until


@contextlib.contextmanager
def server(folder: Path, bucket: str) -> Iterator[dict[str, Any]]:
    """A running server with one bucket; yields the options of s3fs that reach it.

    Args:
        folder: Of its data.
        bucket: Its name.
    """
    import s3fs

    ports = []
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(str(free.getsockname()[1] % 10_000 + 20_000))  # the server adds 10,000 for its own calls
    program = shutil.which("weed") or str(Path(sys.executable).parent / "weed")
    names = ("-master.port", "-volume.port", "-filer.port", "-s3.port", "-s3.port.iceberg")
    command = [program, "server", "-s3", "-ip", "127.0.0.1", "-dir", str(folder), "-master.volumeSizeLimitMB", "64"]
    command += [f"{name}={port}" for name, port in zip(names, ports, strict=True)]
    options = {"endpoint_url": f"http://127.0.0.1:{ports[3]}", "key": "any", "secret": "any"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def is_up() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        try:
            filesystem = s3fs.S3FileSystem(**options, skip_instance_cache=True)
            if not filesystem.exists(bucket):
                filesystem.mkdir(bucket)
            with filesystem.open(f"{bucket}/probe", "wb") as probe:
                probe.write(b"1")
        except OSError:
            return False
        return True

    try:
        wait_until(is_up, 60, "the S3 server takes a file")
        yield options
    finally:
        process.kill()  # a graceful end takes 25 s
        process.wait()
