"""A server under malformed requests: `python -m benchmarks.fuzz [--requests 100000]`.

Each is as `torture/malformed.py` makes it; afterwards the server answers as before.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.torture.malformed import Client, fuzzed, posted
from benchmarks.torture.servers import ROW, released
from ml_assets_tests.server.helpers import started


def run(port: int, process: psutil.Process, row: Mapping[str, Any], requests: int, seed: int) -> int:
    """Fuzz a server and print the table; 1 where something was wrong, or the server is not what it was."""
    client, sound = Client(port), posted(json.dumps({"rows": [dict(row)]}).encode())
    before, memory, began = json.loads(client.send(sound)[2]), process.memory_info().rss, time.monotonic()
    rows = fuzzed(port, row, requests, seed)
    seconds = time.monotonic() - began
    client.close()
    after = json.loads(client.send(sound)[2])
    print("| requests | sent | as they should be | codes |\n|---|---|---|---|")
    print("\n".join(f"| {one.what} | {one.tried:,} | {one.held:,} | {one.note} |" for one in rows))
    grown = (process.memory_info().rss - memory) / 2**20
    same = after["scores"] == before["scores"]
    print(f"\n{requests:,} requests in {seconds:.0f} s, seed {seed}; memory {grown:+.0f} MiB; scores as before: {same}")
    return 0 if same and process.is_running() and all(one.held == one.tried for one in rows) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)  # Dagster's events of the training
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, released(Path(folder)) as release:
        command = ["-m", "ml_assets.server", str(release), "--log", str(Path(folder) / "log")]
        with started(Path(folder) / "server.log", command) as server:
            return run(server.port, psutil.Process(server.process.pid), ROW, given.requests, given.seed)


if __name__ == "__main__":
    sys.exit(main())
