"""Requests made wrong in every way that we know, drawn with a seed.

Each must be answered with a status below 500, and a refusal by an application's route as problem details (RFC 9457).
Only where the head itself is broken may the connection be closed instead.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.torture.server_attacks import Row

PREDICT = "/v1/loans/predict"
CLOSED = 0  # instead of a status
LARGE_BODIES = 0.002  # of all requests: they take long
HARD: list[Any] = [
    None, True, 0, -1, 2**31, 2**63 - 1, -(2**63), 2**64, 10**400, 0.0, -0.0, 5e-324, 1.7e308, "", " ", "\x00", "é" * 9,
    "\ud800", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "0001-01-01", "9999-12-31", "2024-02-30",
    "2024-01-01T25:00:00", "infinity", "NaN", "1e9", [], {}, [[]], {"rows": []}, "x" * 100_000, "'; DROP TABLE x; --",
    float("nan"), float("inf"), -float("inf"), "\u202e", "\U0001f6eb", "2024-01-01T10:00:60Z", {"$ref": "#"}, -1e-400,
]  # fmt: skip
LITERALS = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0",
    b"00",
    b"0x10",
    b"1_0",
    b"+1",
    b".5",
    b"'a'",
    b"undefined",
    b"1" * 5_000,
]
METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "POST"]
PATHS = [
    "/", "//", "/v1", "/v1/", "/v1/loans", "/v1/loans/", "/v1/LOANS/predict", "/v1/none/predict", "/v1/loans/predict/",
    "/v1/loans/versions/1.0.0/predict", "/v1/loans/versions/9.9.9/predict", "/v1/loans/versions/%00/predict",
    "/v1/%2e%2e/%2e%2e/etc/passwd", "/v1/../v1/loans/predict", "/v1/loans%2fpredict", "/v1/%F0%9F%9B%AB/predict",
    "/v1/%ff%fe/predict", "/v1/loans/feedback", "/v1/loans/reload", "/v1/" + "a" * 3_000 + "/predict", "/metrics",
    "/openapi.json", "/docs", "/health/live", "/health/ready", "/v1/loans/predict?explain=-1", "/v1/loans/predict?a[]=",
    "/v1/loans/predict?explain=99999999999999999999", "/v1/loans/predict?explain=x&explain=", "/v1/loans/predict;x=y",
]  # fmt: skip
HEADERS = [
    b"Content-Type: text/plain", b"Content-Type: application/x-www-form-urlencoded", b"Content-Type: \xff\xfe",
    b"Content-Type: multipart/form-data; boundary=", b"Content-Encoding: gzip", b"Authorization: Bearer \xe9",
    b"Authorization: Basic Og==", b"Authorization:", b"Expect: 100-continue", b"X-Request-Id: " + b"a" * 8_000,
    b"Accept: nothing/at-all", b"Range: bytes=0-", b"Connection: upgrade\r\nUpgrade: websocket", b"Cookie: =;=;",
    b"Origin: null", b"If-None-Match: *", b"X-Forwarded-For: ' OR 1=1", b"Accept-Encoding: br, gzip;q=nan",
]  # fmt: skip
HEADS = [
    b"", b"\r\n", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET / HTTP/1.1\r\n: x\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\n\r\n", b"\x00" * 100,
    b"POST %s HTTP/1.0\r\n\r\n{}", b"GET %s HTTP/1.1\nHost: x\n\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST %s HTTP/1.1\r\nContent-Length: -1\r\n\r\n{}", b"POST %s HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n{}",
    b"POST %s HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST %s HTTP/1.1\r\nContent-Length: 99\r\n\r\n{}",
    b"POST %s HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
]  # fmt: skip


@dataclass(frozen=True)
class Fuzz:
    """A request.

    Args:
        raw: Its bytes.
        method: Of the response's form: HEAD has no body.
        is_whole: Is its head sound, so that it must be answered?
        path: Where it goes.
    """

    raw: bytes
    method: str = "POST"
    is_whole: bool = True
    path: str = PREDICT


@dataclass
class Tally:
    """What came of the requests of a kind."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def posted(body: bytes, path: str = PREDICT, method: str = "POST", headers: bytes = b"") -> Fuzz:
    """A request with a sound head."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n".encode()
    return Fuzz(head + headers + b"\r\n" + body, method, path=path)


def values(row: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Hard values in some fields of some rows."""
    rows = [dict(row) for _ in range(rng.choice([1, 1, 2, 7, 100]))]
    for _ in range(rng.choice([1, 1, 2, 5])):
        rng.choice(rows)[rng.choice(list(row))] = rng.choice(HARD)
    return posted(json.dumps({"rows": rows}).encode())


def shapes(row: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """JSON that is no request, or one with odd members."""
    hard = rng.choice(HARD)
    lacking = {name: value for name, value in row.items() if name != rng.choice(list(row))}
    shape: Any = rng.choice(
        [
            hard, [], {}, {"rows": hard}, {"rows": [hard]}, {"rows": [lacking]}, {"rows": [{**row, "more": hard}]},
            {"rows": [dict(row)], "id": hard}, {"rows": [dict(row)], "keys": hard},
            {"rows": [dict(row)], "keys": [hard]},
            {"rows": [dict(row)] * 1_001}, {"rows": [dict(row)] * 1_000}, {"rows": [dict(row)], str(hard)[:50]: hard},
        ]
    )  # fmt: skip
    return posted(json.dumps(shape).encode())


def outcomes(_: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Feedback about nothing in particular."""
    hard, other = rng.choice(HARD), rng.choice(HARD)
    outcome = rng.choice(
        [
            hard,
            {"id": hard, "row": other, "values": {"late_days": 1}},
            {"id": "x", "row": 0, "values": {"late_days": hard}},
            {"key": {"loan": hard}, "values": {"late_days": other}},
            {"key": {"loan": 1}, "id": "x", "values": {str(hard)[:50]: other}},
        ]
    )
    return posted(json.dumps({"outcomes": [outcome]}).encode(), "/v1/loans/feedback")


def nested(_: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Deep nesting, where anything may be."""
    depth = rng.choice([10, 500, 1_100, 50_000])
    opened, closed = rng.choice([(b"[", b"]"), (b'{"rows":', b"}"), (b'{"a":[', b"]}")])
    body = opened * depth + b"1" + closed * (depth if rng.random() < 0.8 else 0)
    return posted(rng.choice([body, b'{"rows": [' + body + b"]}", b'{"rows": [], "id": ' + body + b"}"]))


def numbers(row: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Numbers that JSON does not have, or no computer."""
    fields = {name: json.dumps(value).encode() for name, value in row.items()}
    fields[rng.choice(list(row))] = rng.choice(LITERALS)
    body = b", ".join(json.dumps(name).encode() + b": " + text for name, text in fields.items())
    return posted(b'{"rows": [{' + body + b"}]}")


def unicode(row: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Texts in other encodings, or in none."""
    text = json.dumps({"rows": [{**row, "region": rng.choice(["B", "é", "\U0001f6eb", "\u0000"])}]}, ensure_ascii=False)
    encoding = rng.choice(["utf-8-sig", "utf-16", "utf-32", "latin-1", "utf-7", "cp037"])
    body = text.encode(encoding, errors="replace")
    if rng.random() < 0.5:
        wrong = rng.choice([b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
        body = text.encode().replace(b'"B"', b'"' + wrong + b'"')
    return posted(body)


def mutated(row: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """A sound body with bits flipped, bytes cut, doubled or put in."""
    body = bytearray(json.dumps({"rows": [dict(row)]}).encode())
    for _ in range(rng.choice([1, 1, 3, 20])):
        at = rng.randrange(len(body) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(body):
            body[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del body[at : at + rng.randrange(1, 9)]
        elif kind == 2:
            body[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            body[at:at] = body[:at]
    return posted(bytes(body[: 2**20]))


def large(_: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Bodies about as large as is taken, and larger."""
    size = rng.choice([2**20, 8 * 2**20 - 1, 8 * 2**20, 8 * 2**20 + 1, 9 * 2**20])
    return posted(rng.choice([b" ", b"[", b"0", b"\x00"]) * size)


def routes(row: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Any method at any path."""
    body = json.dumps(rng.choice([{"rows": [dict(row)]}, rng.choice(HARD)])).encode()
    method = rng.choice(METHODS)
    return posted(b"" if method == "TRACE" else body, rng.choice(PATHS), method)


def headers(row: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Odd headers with a sound body."""
    chosen = rng.sample(HEADERS, rng.choice([1, 2, 4]))
    body = json.dumps({"rows": [dict(row)]}).encode()
    return posted(body, headers=b"".join(header + b"\r\n" for header in chosen))


def heads(_: Mapping[str, Any], rng: random.Random) -> Fuzz:
    """Heads that are none."""
    raw = rng.choice(HEADS).replace(b"%s", PREDICT.encode())
    if rng.random() < 0.3:
        raw = rng.randbytes(rng.randrange(1, 300))
    return Fuzz(raw, is_whole=False)


KINDS: dict[str, tuple[float, Callable[[Mapping[str, Any], random.Random], Fuzz]]] = {
    "values": (0.25, values),
    "shapes": (0.15, shapes),
    "mutated": (0.2, mutated),
    "numbers": (0.07, numbers),
    "unicode": (0.07, unicode),
    "nested": (0.03, nested),
    "outcomes": (0.06, outcomes),
    "routes": (0.08, routes),
    "headers": (0.05, headers),
    "heads": (0.038, heads),
    "large": (LARGE_BODIES, large),
}


class Client:
    """A connection that is opened again where the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def send(self, fuzz: Fuzz) -> tuple[int, str, bytes]:
        """Status, media type and body of the response; CLOSED where there is none."""
        for is_last in (self._socket is None, True):
            one = self._socket or socket.create_connection(("127.0.0.1", self._port), timeout=30)
            self._socket = one
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused while it is sent
                    one.sendall(fuzz.raw)
                    if not fuzz.is_whole:
                        one.shutdown(socket.SHUT_WR)
                return self._received(one, fuzz)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if is_last:
                    return CLOSED, "", f"{type(error).__name__}: {error}".encode()
        raise AssertionError

    def _received(self, one: socket.socket, fuzz: Fuzz) -> tuple[int, str, bytes]:
        response = http.client.HTTPResponse(one, method=fuzz.method)
        response.begin()
        text = response.read()
        if response.will_close or not fuzz.is_whole:
            self.close()
        return response.status, response.headers.get_content_type(), text

    def close(self) -> None:
        """Open a new one next time."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def problem_of(fuzz: Fuzz, status: int, kind: str, text: bytes) -> str:
    """What is wrong with a response; empty where nothing is."""
    if status == CLOSED:
        return f"no response ({text.decode()})" if fuzz.is_whole else ""
    if status >= 500:
        return f"{status}"
    if fuzz.is_whole and status >= 400 and fuzz.method != "HEAD" and status != http.HTTPStatus.REQUEST_TIMEOUT:
        try:
            said = json.loads(text)
        except ValueError:
            return f"{status} without problem details"
        if kind != "application/problem+json" or said.get("status") != status:
            return f"{status} without problem details"
    return ""


def fuzzed(port: int, row: Mapping[str, Any], requests: int = 2_000, seed: int = 0) -> list[Row]:
    """Send them one after the other; what came of each kind.

    Args:
        port: Of the server on 127.0.0.1.
        row: A row that it answers.
        requests: How many.
        seed: Of what is drawn.
    """
    rng, client = random.Random(seed), Client(port)
    tallies: dict[str, Tally] = {name: Tally() for name in KINDS}
    names, shares = list(KINDS), [share for share, _ in KINDS.values()]
    for name in rng.choices(names, shares, k=requests):
        fuzz, tally = KINDS[name][1](row, rng), tallies[name]
        status, kind, text = client.send(fuzz)
        tally.statuses[status] += 1
        why = problem_of(fuzz, status, kind, text)
        if why:
            tally.broken.append(f"{why}: {text[:150]!r} for {fuzz.raw[:250]!r}")
    client.close()
    return [as_row(name, tally) for name, tally in tallies.items() if tally.statuses]


def as_row(name: str, tally: Tally) -> Row:
    """Codes of a kind, and the first response that is wrong."""
    tried = tally.statuses.total()
    note = ", ".join(f"{status or 'closed'}: {count:,}" for status, count in sorted(tally.statuses.items()))
    return Row(f"fuzzed {name}", tried, tried - len(tally.broken), "; ".join([note, *tally.broken[:1]]))
