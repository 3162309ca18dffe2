"""A damaged archive is told, whatever bit it has lost."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from ml_assets.errors import SourceError
from ml_assets.sources.packed import check_whole

TEXT = "turbine,megawatts\n" + "".join(f"{n},{(n * 7919 % 1000) / 10}\n" for n in range(3000))


def packed(folder: Path, suffix: str) -> bytes:
    plain = folder / "wind.csv"
    plain.write_text(TEXT)
    if suffix == ".gz":
        return gzip.compress(plain.read_bytes())
    if not shutil.which("zstd"):
        pytest.skip("the program zstd is not here")
    return subprocess.run(["zstd", "-c", "-q", str(plain)], capture_output=True, check=True).stdout


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_every_flipped_bit_and_every_cut_is_told(tmp_path: Path, suffix: str) -> None:
    whole, file, rng = packed(tmp_path, suffix), tmp_path / f"wind.csv{suffix}", random.Random(11)
    file.write_bytes(whole)
    check_whole(str(file), "s3://wind")
    flipped = []
    for _ in range(80):
        bit = rng.randrange(len(whole) * 8)
        flipped.append(bytes(b ^ (1 << bit % 8) if n == bit // 8 else b for n, b in enumerate(whole)))
    for damaged in [*flipped, *(whole[:length] for length in (3, len(whole) // 2, len(whole) - 4, len(whole) - 1))]:
        file.write_bytes(damaged)
        if suffix == ".gz" and _same(damaged):
            continue  # a bit of the header, such as its time, that content does not depend on
        with pytest.raises(SourceError, match=r"damaged: it is cut off, or its checksum(.|\n)*s3://wind"):
            check_whole(str(file), "s3://wind")


def _same(data: bytes) -> bool:
    try:
        return gzip.decompress(data) == TEXT.encode()
    except (OSError, EOFError, ValueError):
        return False
    except Exception:  # zlib.error
        return False


def test_members_one_after_another_are_one_file(tmp_path: Path) -> None:
    file = tmp_path / "two.csv.gz"
    file.write_bytes(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))
    check_whole(str(file), str(file))
