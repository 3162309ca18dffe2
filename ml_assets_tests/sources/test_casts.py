"""A cast changes no value in silence: what cannot be read exactly is doubtful."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest

from ml_assets.sources.casts import typed

DOUBTFUL = "doubtful"
MIDNIGHT = dt.datetime(2024, 3, 1)
READ = {
    ("VARCHAR", "integer"): {
        "12": 12, "12.0": 12, "1e3": 1000, " 7 ": 7, "9007199254740993": 9007199254740993,
        "1_000": DOUBTFUL, "0x1F": DOUBTFUL, "1.5": DOUBTFUL, "9007199254740993.5": DOUBTFUL, "inf": DOUBTFUL,
        "9223372036854775808": DOUBTFUL, None: None,
    },
    ("VARCHAR", "number"): {
        "1.5": 1.5, "nan": None, "-inf": -float("inf"), "Infinity": float("inf"),
        "1e400": DOUBTFUL, "-1e999": DOUBTFUL, "1_0.5": DOUBTFUL, "1,5": DOUBTFUL,
    },
    ("VARCHAR", "date"): {
        "2024-03-01": MIDNIGHT.date(), "2024/3/1": MIDNIGHT.date(), "2024-03-01 ": MIDNIGHT.date(),
        "2024-03-01 00:00:00": MIDNIGHT.date(), "2024-03-01T00:00:00Z": MIDNIGHT.date(),
        "2024-03-01 09:30": DOUBTFUL, "2024-03-01T00:00:00+02:00": DOUBTFUL, "infinity": DOUBTFUL, "epoch": DOUBTFUL,
        "2024-03-01 rest": DOUBTFUL, "12024-03-01": DOUBTFUL, "0000-01-01": DOUBTFUL,
    },
    ("VARCHAR", "timestamp"): {
        "2024-03-01": MIDNIGHT, "2024-03-01T02:00:00+02:00": MIDNIGHT, "2024-02-29 18:30:00-0530": MIDNIGHT,
        "2024-03-01 01:00:00 Europe/Berlin": MIDNIGHT, "2024-03-01T00:00:00Z": MIDNIGHT,
        "infinity": DOUBTFUL, "Epoch": DOUBTFUL, "10:00": DOUBTFUL,
    },
    ("VARCHAR", "boolean"): {"1": True, "no": False, "2": DOUBTFUL, "on": DOUBTFUL},
    ("BIGINT", "boolean"): {1: True, 0: False, 2: DOUBTFUL, -1: DOUBTFUL, None: None},
    ("UBIGINT", "boolean"): {1: True, 5: DOUBTFUL},
    ("DOUBLE", "boolean"): {1.0: True, 0.5: DOUBTFUL, float("nan"): None},
    ("DOUBLE", "integer"): {3.0: 3, 1.7: DOUBTFUL, float("nan"): None, float("inf"): DOUBTFUL, 1e19: DOUBTFUL},
    ("DECIMAL(20, 1)", "integer"): {"9007199254740993.0": 9007199254740993, "9007199254740993.5": DOUBTFUL},
    ("HUGEINT", "integer"): {7: 7, 2**63: DOUBTFUL},
    ("BOOLEAN", "integer"): {True: 1},
    ("TIMESTAMP", "date"): {MIDNIGHT: MIDNIGHT.date(), MIDNIGHT.replace(hour=9): DOUBTFUL},
    ("TIMESTAMP WITH TIME ZONE", "timestamp"): {"2024-03-01T02:00:00+02:00": MIDNIGHT},
    ("DATE", "date"): {"2024-03-01": MIDNIGHT.date(), "infinity": DOUBTFUL, "20240-03-01": DOUBTFUL},
    ("TIMESTAMP", "timestamp"): {MIDNIGHT: MIDNIGHT, "infinity": DOUBTFUL},
    ("BIGINT", "timestamp"): {1709251200: DOUBTFUL},
}  # fmt: skip


@pytest.mark.parametrize(("found", "declared"), READ)
def test_what_becomes_of_each_value(found: str, declared: str) -> None:
    value, doubt = typed("x", found, declared)
    got: dict[Any, Any] = {}
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'America/New_York'")  # what is read depends on no machine's zone
        for raw in READ[found, declared]:
            source = f"(SELECT CAST(CAST($raw AS VARCHAR) AS {found}) AS x)"
            sql = f"SELECT {value}, {doubt or 'false'} FROM {source}"
            ((read, is_doubtful),) = con.execute(sql, {"raw": raw}).fetchall()
            assert not (is_doubtful and read is not None), raw  # doubtful values are NULL, never half read
            got[raw] = DOUBTFUL if is_doubtful else read
    assert [repr(one) for one in got.values()] == [repr(one) for one in READ[found, declared].values()]
