"""How a step fails: with the text of the error, without a traceback of our code."""

import contextlib
from collections.abc import Iterator, Sequence

import dagster as dg
import duckdb

from ml_assets.errors import MLAssetsError
from ml_assets.lake import faults


@contextlib.contextmanager
def user_errors(**where: object) -> Iterator[None]:
    """Turn an error that the user can fix into a failed step with its text, without a traceback of our code."""
    try:
        yield
    except (MLAssetsError, duckdb.Error) as error:
        raise failure([faults.explained(error).at(**where)]) from None


def failure(errors: Sequence[MLAssetsError]) -> dg.Failure:
    """A failed step that says what the errors say; a retry would fail again."""
    text = "\n".join(str(error) for error in errors)
    failed = dg.Failure(
        description=text, metadata={"error": dg.MetadataValue.md(f"```\n{text}\n```")}, allow_retries=False
    )
    return failed.with_traceback(None)
