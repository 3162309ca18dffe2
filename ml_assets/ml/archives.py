"""Zip files from somebody else: what they would unpack to is checked before anything is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ml_assets.errors import ModelError

MAX_MEMBERS = 100_000
MAX_RATIO, SMALL = 200, 2**20  # bytes for each packed one, of members that are not small


def check(file: Path, most: int) -> list[str]:
    """Names of a zip's members.

    Args:
        file: The zip.
        most: Bytes that all members may have unpacked.

    Raises:
        ModelError: It is no zip, or its members are too many, too large or packed beyond all measure.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            members = packed.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError("A file is no zip.", found=str(error), where={"file": file}) from error
    size = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or size > most:
        found = f"{len(members):,} members of {size / 2**20:,.0f} MiB; allowed are {most / 2**20:,.0f} MiB"
        raise ModelError("A zip would unpack to too much.", found=found, where={"file": file})
    for member in members:
        if member.file_size > SMALL and member.file_size > MAX_RATIO * member.compress_size:
            found = f"{member.filename}: {member.compress_size:,} bytes for {member.file_size:,}"
            raise ModelError("A zip holds a member that unpacks to far more.", found=found, where={"file": file})
    return [member.filename for member in members]
