"""Routing: shares, stickiness, and one text for a value whichever way it came."""

import datetime as dt
from collections import Counter

import msgspec
import pyarrow as pa
import pytest

from ml_assets.ml import routing
from ml_assets.ml.bundle import Schema
from ml_assets.server.requests import columns, request_type

ROUTES = {"challenger": 0.1, "champion": 0.7, "other": 0.2}
KEYS = 100_000


def test_shares_are_those_of_the_routes() -> None:
    found = Counter(routing.choose(ROUTES, routing.share_of("flights", (2013, 1, i, "UA"))) for i in range(KEYS))
    for role, share in ROUTES.items():
        allowed = 4 * (share * (1 - share) / KEYS) ** 0.5
        assert abs(found[role] / KEYS - share) < allowed, (role, found)


def test_keys_are_spread_evenly_over_the_whole_interval() -> None:
    tenths = Counter(int(10 * routing.share_of("flights", [f"key {i}"])) for i in range(KEYS))
    assert set(tenths) == set(range(10))
    chi2 = sum((count - KEYS / 10) ** 2 / (KEYS / 10) for count in tenths.values())
    assert chi2 < 27.9  # 0.999 of chi squared with 9 degrees of freedom


def test_the_same_key_has_the_same_share_for_ever() -> None:
    assert routing.share_of("flights", (2013, "UA", None)) == int("6b829167f7ba3", 16) / 16**13  # of md5sum


def test_another_pipeline_divides_its_keys_otherwise() -> None:
    half = {"champion": 0.5, "challenger": 0.5}
    pairs = Counter(
        tuple(routing.choose(half, routing.share_of(name, [i])) for name in ("flights", "visits"))
        for i in range(10_000)
    )
    assert all(abs(count - 2_500) < 4 * (10_000 * 0.25 * 0.75) ** 0.5 for count in pairs.values()), pairs


def test_a_key_stays_with_the_challenger_when_its_share_grows() -> None:
    shares = [routing.share_of("flights", [i]) for i in range(10_000)]
    before = {s for s in shares if routing.choose({"champion": 0.9, "challenger": 0.1}, s) == "challenger"}
    after = {s for s in shares if routing.choose({"champion": 0.6, "challenger": 0.4}, s) == "challenger"}
    assert 0 < len(before) < len(after)
    assert before < after


@pytest.mark.parametrize(
    ("routes", "share", "role"),
    [
        ({"champion": 1.0}, 0.999999, "champion"),
        ({"champion": 0.9, "challenger": 0.1}, 0.0, "champion"),
        ({"champion": 0.9, "challenger": 0.1}, 0.9, "challenger"),
        ({"champion": 0.9}, 0.95, "champion"),  # no version is the challenger
        ({"challenger": 0.3}, 0.29, "challenger"),
        ({"challenger": 0.3}, 0.31, "champion"),
        ({}, 0.5, "champion"),
        ({"champion": 0.0, "challenger": 1.0}, 0.0, "challenger"),
    ],
)
def test_choose(routes: dict[str, float], share: float, role: str) -> None:
    assert routing.choose(routes, share) == role


def test_values_do_not_run_into_each_other() -> None:
    assert routing.share_of("p", ("a", "bc")) != routing.share_of("p", ("ab", "c"))
    assert routing.share_of("p", ("a", None)) != routing.share_of("p", ("a",))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("UA", "UA"),
        (12, "12"),
        (12.0, "12"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (float("nan"), ""),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (dt.date(2013, 1, 2), "2013-01-02"),
        (dt.datetime(2013, 1, 2, 3), "2013-01-02T03:00:00"),
        (dt.datetime(2013, 1, 2, 3, 4, 5, 60), "2013-01-02T03:04:05.000060"),
        (dt.datetime(2013, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2013-01-02T01:00:00"),
        ("caf\u00e9 \ud800", "caf\u00e9 \ud800"),
    ],
)
def test_text_of_a_value(value: object, text: str) -> None:
    assert routing.text_of(value) == text
    assert 0 <= routing.share_of("p", [value]) < 1


def test_a_request_and_a_batch_place_a_row_alike() -> None:
    words = {
        "day": "date",
        "at": "timestamp",
        "carrier": "string",
        "flight": "integer",
        "weight": "number",
        "cargo": "boolean",
        "origin": "string",
    }
    schema = Schema("binary", "late", words, {"flight": "number"}, ["0", "1"], 0.5, "x", nullable=["origin", "at"])
    body = b"""{"rows": [
        {"day": "2013-01-02", "at": "2013-01-02T03:04:05.5", "carrier": "UA", "flight": 7, "weight": 3, "cargo": true,
         "origin": null},
        {"day": "2013-12-31", "at": null, "carrier": "\\u00c9\\n", "flight": 9007199254740993, "weight": 0.1,
         "cargo": false, "origin": ""}]}"""
    asked = columns(msgspec.json.Decoder(request_type(schema, "loans")).decode(body).rows, schema)
    arrived = pa.table(
        {
            "day": pa.array([dt.date(2013, 1, 2), dt.date(2013, 12, 31)], pa.date32()),
            "at": pa.array([dt.datetime(2013, 1, 2, 3, 4, 5, 500_000), None], pa.timestamp("us")),
            "carrier": pa.array(["UA", "É\n"]),
            "flight": pa.array([7, 9007199254740993], pa.int64()),
            "weight": pa.array([3.0, 0.1], pa.float64()),
            "cargo": pa.array([True, False]),
            "origin": pa.array([None, ""]),
        }
    )
    key = routing.key_columns(["day", "at", "carrier", "arr_delay", "flight", "weight", "cargo", "origin"], words)
    assert key == list(words)
    online = [routing.share_of("p", values) for values in zip(*(asked[name] for name in key), strict=True)]
    batch = [
        routing.share_of("p", values)
        for values in zip(*(arrived.column(name).to_pylist() for name in key), strict=True)
    ]
    assert online == batch
    assert len(set(online)) == 2
