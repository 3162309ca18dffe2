"""How a step, or the load of definitions, fails for what a user can fix: with the text of the error, without a stack.

A bug of ours keeps its stack.
"""

import contextlib
from collections.abc import Iterator, Sequence

import dagster as dg
import duckdb
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo

from ml_assets.errors import MLAssetsError
from ml_assets.lake import faults


class WithoutStack(DagsterUserCodeProcessError):
    """An error that Dagster shows as its text alone.

    Dagster stores the stack of each error that it catches, except of an error that says that it comes from another
    process: of that one it stores what the error brings, here the text and no stack.

    Args:
        errors: What is wrong; Dagster names the class of the first.
    """

    def __init__(self, errors: Sequence[MLAssetsError]) -> None:
        text = "\n".join(map(str, errors))
        info = SerializableErrorInfo(f"{text}\n", [], type(errors[0]).__name__)
        super().__init__(text, user_code_process_error_infos=[info])  # type: ignore[no-untyped-call]


class UserFailure(WithoutStack, dg.Failure):
    """A failed step. A retry would fail again."""

    def __init__(self, errors: Sequence[MLAssetsError]) -> None:
        super().__init__(errors)
        text = str(self)
        dg.Failure.__init__(self, text, {"error": dg.MetadataValue.md(f"```\n{text}\n```")}, allow_retries=False)


@contextlib.contextmanager
def user_errors(**where: object) -> Iterator[None]:
    """Turn an error that the user can fix into a failed step with its text."""
    try:
        yield
    except (MLAssetsError, duckdb.Error) as error:
        raise UserFailure([faults.explained(error).at(**where)]) from None
