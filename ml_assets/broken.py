"""A pipeline that cannot be loaded, as Dagster shows it: one asset that says why, in place of all of its own.

The other pipelines of the code location load and run. A check of the definitions (`dagster definitions validate`,
`dg check defs`) fails all the same: it sets an environment variable, by which it is known here.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg

from ml_assets.errors import MLAssetsError, SpecError
from ml_assets.step_errors import UserFailure

PROBLEM = "ml_assets/problem"
NOTES = "ml_assets/not_checked_at_load"
ASSET_NAME = "broken"
logger = logging.getLogger("ml_assets")
ENV_VALIDATE = "ML_ASSETS_VALIDATE"  # set by `ml-assets validate`


@contextlib.contextmanager
def checked_by_caller() -> Iterator[None]:
    """Load definitions to check all of them; the caller says what is wrong, so that no log line does."""
    before, was_disabled = os.environ.get(ENV_VALIDATE), logger.disabled
    os.environ[ENV_VALIDATE], logger.disabled = "1", True
    try:
        yield
    finally:
        logger.disabled = was_disabled
        if before is None:
            del os.environ[ENV_VALIDATE]


def checking() -> bool:
    """Does somebody check the definitions, be it to the first problem only, or all of them?"""
    return strict() or bool(os.environ.get(ENV_VALIDATE))


def strict() -> bool:
    """Does somebody check the definitions, rather than run them?"""
    return bool(os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI"))


def in_chain(error: BaseException) -> MLAssetsError | None:
    """Our own error among those that an error was raised for."""
    chain: BaseException | None = error
    while chain is not None and not isinstance(chain, MLAssetsError):
        chain = chain.__cause__ or chain.__context__
    return chain


def text_of(error: BaseException) -> str:
    """What a person needs to know of an error: our own text where there is one in its chain."""
    ours = in_chain(error)
    if ours is not None:
        return str(ours)
    return str(error) if type(error).__module__.startswith("dagster") else f"{type(error).__name__}: {error}"


def stand_in(place: Sequence[str], file: Path, problem: str) -> dg.Definitions:
    """One asset that says what is wrong, and fails with it.

    Args:
        place: Folder names of the pipeline below defs/.
        file: Its YAML.
        problem: What is wrong.
    """
    words = [re.sub(r"\W", "_", part) for part in place]
    logger.warning("The pipeline %s is not loaded, the others are.\n%s", "/".join(place), problem)

    @dg.asset(
        key=[*words, ASSET_NAME],
        group_name=f"{'_'.join(words)}_{ASSET_NAME}",
        kinds={"error"},
        description=f"This pipeline cannot be loaded. Nothing of it runs until {file.name} is corrected.\n\n"
        f"```\n{problem}\n```",
        metadata={PROBLEM: problem, "file": str(file)},
    )
    def broken() -> None:
        raise UserFailure([SpecError(f"The pipeline cannot be loaded.\n{problem}")])

    return dg.Definitions(assets=[broken])


def problems_of(defs: dg.Definitions) -> dict[str, str]:
    """Pipeline, as folder names below defs/ -> why it cannot be loaded."""
    return _metadata(defs, PROBLEM)


def notes_of(defs: dg.Definitions) -> dict[str, str]:
    """Pipeline -> what of it only a run can check."""
    return _metadata(defs, NOTES)


def _metadata(defs: dg.Definitions, name: str) -> dict[str, str]:
    specs = [spec for made in defs.assets or () if isinstance(made, dg.AssetsDefinition) for spec in made.specs]
    found = {spec.key: spec.metadata[name] for spec in specs if name in spec.metadata}
    return {"/".join(key.path[:-1]): str(getattr(value, "value", value)) for key, value in found.items()}
