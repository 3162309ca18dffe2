"""How a step fails for what a user can fix: with the text of the error. A bug of ours keeps its stack."""

import contextlib
from collections.abc import Iterator, Sequence

import dagster as dg
import duckdb
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo

from ml_assets.errors import MLAssetsError
from ml_assets.lake import faults


class UserFailure(DagsterUserCodeProcessError, dg.Failure):
    """A failed step that says what is wrong, and nothing else. A retry would fail again.

    Dagster takes down the stack of every error but of one that, as it is told, another process has taken down.

    Args:
        errors: What is wrong; Dagster names the class of the first.
    """

    def __init__(self, errors: Sequence[MLAssetsError]) -> None:
        text = "\n".join(map(str, errors))
        shown = {"error": dg.MetadataValue.md(f"```\n{text}\n```")}
        dg.Failure.__init__(self, text, shown, allow_retries=False)
        self.user_code_process_error_infos = [SerializableErrorInfo(f"{text}\n", [], type(errors[0]).__name__)]


@contextlib.contextmanager
def user_errors(**where: object) -> Iterator[None]:
    """Turn an error that the user can fix into a failed step with its text."""
    try:
        yield
    except (MLAssetsError, duckdb.Error) as error:
        raise UserFailure([faults.explained(error).at(**where)]) from None
