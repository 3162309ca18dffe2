"""Whether a compressed file is whole: DuckDB checks neither the checksum of .gz nor the end of either format."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import IO, cast

from ml_assets.errors import SourceError

PACKED = (".gz", ".zst")
CHUNK = 1 << 20


def check_whole(path: str, shown: str) -> None:
    """Unpack a compressed file to its end, and keep nothing; other files pass.

    .gz has a CRC-32 and a length. .zst has a checksum where its writer was told to add one (`zstd` does, DuckDB and
    Arrow do not); its end is always checked.

    Args:
        path: The file here.
        shown: Its address as a person knows it.

    Raises:
        SourceError: It is cut off, or its content is not what was packed.
        OSError: It cannot be read at all.
    """
    if Path(path).suffix in PACKED:
        try:
            with opened(path) as content:
                while content.read(CHUNK):
                    pass
        except (EOFError, zlib.error, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise SourceError(
                "The compressed file is damaged: it is cut off, or its checksum is another one.",
                found=str(error),
                where={"file": shown},
                fix="Deliver the file again; it is picked up when it changes.",
            ) from error


def opened(path: str) -> IO[bytes]:
    """A file for reading, unpacked where its suffix says that it is compressed."""
    if Path(path).suffix == ".gz":
        return cast(IO[bytes], gzip.open(path))
    if Path(path).suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(path), "zstd"))
    return Path(path).open("rb")
