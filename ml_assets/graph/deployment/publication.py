"""A release copied to the place where others fetch it, and the file that says which version is the champion.

    PLACE/PIPELINE/VERSION/      the release folder
    PLACE/PIPELINE/champion.json version, sha256 of the release's manifest, why, by, moved_at; written last

Locally a folder appears whole or not at all. An object store has no folders: there the manifest comes last, and
whoever reads it first finds all that it lists.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_assets.atomic import write_text
from ml_assets.errors import ModelError, ServingError
from ml_assets.ml import manifest
from ml_assets.sources.remote import is_url

CHAMPION = "champion.json"


def publish(release: Path, sha256: str, place: str, version: str, champion: Mapping[str, Any]) -> str:
    """Copy a release and name it in champion.json. Returns what was done, in words.

    Args:
        release: Folder of the release, which is sound.
        sha256: Of its manifest.
        place: The pipeline's folder, or its URL.
        version: Name of the release there.
        champion: What champion.json says.

    Raises:
        ServingError: The place cannot be written.
    """
    text = json.dumps(dict(champion), default=str, indent=2)
    try:
        if is_url(place) and not place.startswith("file://"):
            return _to_url(release, sha256, place, version, text)
        return _to_folder(release, sha256, Path(place.removeprefix("file://")), version, text)
    except Exception as error:  # every filesystem has errors of its own
        raise ServingError(
            "The release cannot be published.",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}",
            fix="Check deploy.publish, the free space or the network, and the credentials in the environment.",
        ) from error


def _to_folder(release: Path, sha256: str, place: Path, version: str, champion: str) -> str:
    place.mkdir(parents=True, exist_ok=True)
    target, new, old = (place / name for name in (version, f".{version}.new", f".{version}.old"))
    for left_over in (new, old):
        shutil.rmtree(left_over, ignore_errors=True)
    done = "there already"
    if not _is_there(target, sha256):
        shutil.copytree(release, new)
        manifest.verify(new, sha256, "release")
        done = "copied"
        if target.exists():
            target.rename(old)
            done = "copied over other content"
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    write_text(place / CHAMPION, champion)
    return done


def _is_there(target: Path, sha256: str) -> bool:
    try:
        manifest.verify(target, sha256, "release")
    except (ModelError, ValueError, KeyError):
        return False
    return True


def _to_url(release: Path, sha256: str, place: str, version: str, champion: str) -> str:
    import fsspec

    filesystem, root = fsspec.url_to_fs(place)
    filesystem.invalidate_cache()
    target = f"{root.rstrip('/')}/{version}"
    done = "there already"
    if _remote_digest(filesystem, f"{target}/{manifest.NAME}") != sha256:
        names = [path.relative_to(release).as_posix() for path in sorted(release.rglob("*")) if path.is_file()]
        there = filesystem.find(target) if filesystem.exists(target) else []
        done = "copied over other content" if there else "copied"
        # The manifest goes first and comes last: what has one is whole.
        stale = [path for path in there if path.removeprefix(f"{target}/") not in names or path.endswith(manifest.NAME)]
        for path in sorted(stale, key=lambda path: path != f"{target}/{manifest.NAME}"):
            filesystem.rm_file(path)
        for name in sorted(names, key=lambda name: name == manifest.NAME):
            filesystem.pipe_file(f"{target}/{name}", (release / name).read_bytes())
    filesystem.pipe_file(f"{root.rstrip('/')}/{CHAMPION}", champion.encode())
    return done


def _remote_digest(filesystem: Any, path: str) -> str | None:
    try:
        return hashlib.sha256(filesystem.cat_file(path)).hexdigest()
    except FileNotFoundError:
        return None
