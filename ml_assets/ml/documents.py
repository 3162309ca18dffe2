"""JSON files of bundles and releases as the dataclasses that they were written from."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ml_assets.errors import ModelError
from ml_assets.ml.manifest import FIX

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def read(file: Path, kind: type[T]) -> T:
    """The document of a file.

    Raises:
        ModelError: The file is missing, is no JSON, or has other fields or types than `kind`.
    """
    try:
        text = file.read_bytes()
        found = msgspec.json.decode(text, type=kind)
        unknown = sorted(set(msgspec.json.decode(text)) - {field.name for field in fields(kind)})
        if unknown:
            raise msgspec.ValidationError(f"unknown field `{unknown[0]}`")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError("A file cannot be read.", found=str(error), where={"file": file}, fix=FIX) from error
    return found
