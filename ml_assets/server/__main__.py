"""`python -m ml_assets.server FOLDER`: serve one release."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.errors import MLAssetsError

if TYPE_CHECKING:
    from ml_assets.server.service import Service


def digest(text: str) -> str:
    """A SHA-256 as hexadecimal digits."""
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"{text!r} is no SHA-256: 64 digits 0 to 9 and a to f")
    return text.lower()


def workers(text: str) -> int:
    """A number of processes."""
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 64")
    return int(text)


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m ml_assets.server", description="Serve a release over HTTP.")
    parser.add_argument("folder", type=Path, help="folder of the release")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one; default: 8000")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; default: 127.0.0.1")
    parser.add_argument("--workers", type=workers, default=1, help="processes that share the port; default: 1")
    parser.add_argument(
        "--keys", type=Path, help="file of API keys, beside those of the environment's ML_ASSETS_API_KEYS"
    )
    parser.add_argument("--insecure", action="store_true", help="let other machines ask without a key")
    parser.add_argument("--log", type=Path, help="folder to write the prediction log to; default: none is written")
    parser.add_argument(
        "--sha256",
        type=digest,
        help="SHA-256 of its manifest.json, from the training; code that the "
        "release brings along (a features function, an own estimator) runs with it only",
    )
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # end with this process
    given = parser.parse_args()
    from ml_assets.server.process import Options, run
    from ml_assets.server.workers import end_with

    if given.parent is not None:
        end_with(given.parent)

    def make() -> Service:
        from ml_assets.server.service import Folder

        return Folder(given.folder, given.sha256, given.log)

    try:
        run(make, Options(given.host, given.port, given.workers, given.keys, given.insecure))
    except MLAssetsError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
