"""What a person decides about versions: approve, reject, promote, roll back; each is a decision with a reason.

Before an alias moves, the version's bundle and release are verified file by file.
"""

from __future__ import annotations

from ml_assets.errors import ModelError, did_you_mean
from ml_assets.lake.lake import Commit, Lake
from ml_assets.lake.paths import Paths
from ml_assets.ml import bundle, manifest
from ml_assets.reporting.evaluation_files import refresh
from ml_assets.tables import releases, versions
from ml_assets.tables.audit import last_writes
from ml_assets.tables.decisions import DECISIONS, Decision, Word, decisions, newest_of, pending, record


def approve(
    lake: Lake, paths: Paths, pipeline: str, version: str, why: str, by: str | None = None, run_id: str = ""
) -> Decision:
    """Promote a version that waits for approval.

    Raises:
        ModelError: It does not wait, or its bundle or release is not sound.
    """
    _check_waits(lake, pipeline, version)
    _check_sound(lake, paths, pipeline, version)
    return _decide(lake, paths, pipeline, version, "promoted", why, by, run_id)


def reject(
    lake: Lake, paths: Paths, pipeline: str, version: str, why: str, by: str | None = None, run_id: str = ""
) -> Decision:
    """Refuse a version that waits for approval; no later training of the same version takes that back.

    Raises:
        ModelError: It does not wait.
    """
    _check_waits(lake, pipeline, version)
    return _decide(lake, paths, pipeline, version, "rejected", why, by, run_id)


def promote(lake: Lake, paths: Paths, pipeline: str, version: str, why: str, by: str | None = None) -> Decision:
    """Make any registered version the champion, whatever its gates say.

    Raises:
        ModelError: There is no such version, its bundle or release is not sound, or it is the champion already.
    """
    _check_other(lake, paths, pipeline, version)
    return _decide(lake, paths, pipeline, version, "promoted", why, by)


def rollback(
    lake: Lake, paths: Paths, pipeline: str, why: str, to: str | None = None, by: str | None = None
) -> Decision:
    """Make an earlier champion the champion again, by default the one before.

    A second rollback goes one further back, not to the version that the first has left.

    Raises:
        ModelError: There is no such version or no earlier champion, or the version's bundle or release is not sound.
    """
    champion = versions.need_alias(lake, pipeline, "champion")
    was = _champions(lake, pipeline)
    target = to or next((version for version in reversed(was) if version != champion.version), None)
    if target is None:
        raise ModelError(
            f"No champion before {champion.version} is left to go back to.",
            where={"pipeline": pipeline},
            fix=f"Name a version: --to VERSION; `ml-assets models list {pipeline}` shows them.",
        )
    _check_other(lake, paths, pipeline, target)
    return _decide(lake, paths, pipeline, target, "rolled_back", why, by)


def _champions(lake: Lake, pipeline: str) -> list[str]:
    """The champions so far, oldest first, without those that were rolled back."""
    was: list[str] = []
    for made in decisions(lake, pipeline):
        if made.decision == "rolled_back" and made.version in was:
            del was[len(was) - was[::-1].index(made.version) :]
        elif made.decision in ("promoted", "rolled_back"):
            was.append(made.version)
    return was


def _check_waits(lake: Lake, pipeline: str, version: str) -> None:
    waiting = pending(lake, pipeline)
    if version not in waiting:
        raise ModelError(
            f"Version {version} does not wait for approval.",
            where={"pipeline": pipeline},
            fix=did_you_mean(version, waiting) if waiting else "No version of the pipeline waits.",
        )


def _check_sound(lake: Lake, paths: Paths, pipeline: str, version: str) -> None:
    model = versions.need_version(lake, pipeline, version)
    for one in releases.models(lake, pipeline, model):
        bundle.verify(paths.artifacts.bundles.fetch(one.bundle), one.bundle_sha256)
    release = releases.newest(lake, pipeline, version)
    if release is not None:
        manifest.verify(paths.artifacts.releases.fetch(release.folder), release.sha256, "release")


def _check_other(lake: Lake, paths: Paths, pipeline: str, version: str) -> None:
    _check_sound(lake, paths, pipeline, version)
    champion = versions.alias(lake, pipeline, "champion")
    if champion is not None and champion.version == version:
        raise ModelError(f"Version {version} is the champion already.", where={"pipeline": pipeline})


def _decide(
    lake: Lake, paths: Paths, pipeline: str, version: str, word: Word, why: str, by: str | None = None, run_id: str = ""
) -> Decision:
    if not why.strip() or (by is not None and not by.strip()):
        raise ModelError(
            "An approval needs a reason and a name." if by is not None else "An approval needs a reason.",
            where={"pipeline": pipeline, "version": version},
            fix="It is kept with the decision.",
        )
    before = newest_of(lake, pipeline, version)
    champion = versions.alias(lake, pipeline, "champion")
    made = Decision(
        version,
        word,
        why.strip(),
        before.gates if before else [],
        champion.version if champion else None,
        by.strip() if by else versions.user(),
    )
    # A person's decision is not computed by code: it leaves the asset as fresh or stale as it was.
    written = last_writes(lake, pipeline).get((DECISIONS.asset(pipeline), None))
    code_version = written.code_version if written else ""
    record(lake, pipeline, made, Commit(DECISIONS.asset(pipeline), run_id, code_version, triggered_by=made.decided_by))
    refresh(lake, paths, pipeline, [made.version, made.previous_champion])
    return made
