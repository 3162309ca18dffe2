"""What is wrong with a CSV file, and in which line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ml_assets.sources.csv_faults import find_fault

HEAD = "station,river,level\n"
GOOD = HEAD + "".join(f"{n},Isar,{n / 10}\n" for n in range(1, 300))


def with_line(line: str) -> str:
    return GOOD.replace("200,Isar,20.0\n", line + "\n")  # line 201


@pytest.mark.parametrize(
    ("data", "found", "fix"),
    [
        (with_line("200,Würm,20.0").encode("latin-1"), "line 201 holds the byte 0xfc", "iconv -f ISO-8859-1 -t UTF-8"),
        (
            with_line("200,“Isar”,20.0").encode("cp1252"),
            "byte 0x93, which is not UTF-8; probably it is Windows-1252",
            "",
        ),
        (GOOD.encode("utf-16"), "it is UTF-16, not UTF-8", "iconv -f UTF-16 -t UTF-8"),
        (GOOD.encode("utf-16-le"), "it is UTF-16LE", "iconv -f UTF-16LE"),
        (with_line("200,Isar,20.0,flood").encode(), "line 201 has 4 columns, the header has 3", "in double quotes"),
        (with_line("200,Isar").encode(), "line 201 has 2 columns, the header has 3 (separated by ',')", "Correct"),
        (GOOD.replace(",", ";").replace("200;", "200;0;").encode(), "line 201 has 4 columns", ""),
        (with_line('200,"Isar,20.0').encode(), "a quoted value that begins in line 201", "Close the quote"),
        (GOOD.replace("\n", "\r\n", 5).encode(), "5 lines end with CR LF and 295 with LF alone", "tr -d"),
    ],
)
def test_each_fault_is_named_with_its_line(tmp_path: Path, data: bytes, found: str, fix: str) -> None:
    file = tmp_path / "level.csv"
    file.write_bytes(data)
    fault = find_fault(str(file))
    assert fault is not None
    assert found in fault.found
    assert fix in fault.fix


def test_a_good_file_has_none_and_archives_are_read(tmp_path: Path) -> None:
    file = tmp_path / "level.csv"
    file.write_text(GOOD + '300,"Isar, oben ""A""\nzwei",1\n\n')
    assert find_fault(str(file)) is None
    packed = tmp_path / "level.csv.gz"
    packed.write_bytes(gzip.compress(with_line("200").encode()))
    assert "line 201 has 1 columns" in getattr(find_fault(str(packed)), "found", "")
