"""Values of `ticks` and `sentiment` at and past the edges of the contract, for every stage that decodes them."""

from __future__ import annotations

import json

from tests.streams.strategies import T0

TICK: dict[str, object] = {
    "v": 1,
    "event_ts_us": T0,
    "clock_ts_us": T0,
    "symbol": "AAPL",
    "price": 585.33,
    "size": 100.0,
    "source": "tape",
    "seq": 7,
    "closes": False,
    "late": False,
}
SENTIMENT: dict[str, object] = {
    "v": 1,
    "event_ts_us": T0,
    "clock_ts_us": T0,
    "headline_id": "h1",
    "symbol": "AAPL",
    "model_id": "finbert-1",
    "p_positive": 0.7,
    "p_negative": 0.1,
    "p_neutral": 0.2,
    "score": 0.6,
    "closes": False,
    "partition": 0,
    "partitions": 0,
}
CLOSING: dict[str, object] = {
    name: SENTIMENT[name] for name in ("event_ts_us", "clock_ts_us", "headline_id", "symbol", "model_id")
} | {"closes": True, "partition": 1, "partitions": 2}
REQUIRED = {
    "tick": ("event_ts_us", "clock_ts_us", "symbol", "price", "size", "source", "seq"),
    "sentiment": ("event_ts_us", "clock_ts_us", "headline_id", "symbol", "model_id"),
}
TEXTS = ("symbol", "source", "headline_id", "model_id")
RAW_NUMBERS = ("NaN", "Infinity", "-Infinity", "INF", "1e999", "-1e999", "1e1000000", "01", "+1", ".5", "1.", "0x10", "1,5")
# Deeper than any decoder's own stack; Kafka lets such a message through.
NESTED = "[" * 10_000 + "]" * 10_000


def _bytes(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def _with_raw(base: dict[str, object], name: str, raw: str) -> bytes:
    return _bytes(base | {name: "RAW"}).replace(b'"RAW"', raw.encode())


def _shapes(base: dict[str, object]) -> dict[str, bytes | None]:
    good = _bytes(base)
    twice = good[:-1] + b', "symbol": "MSFT"}'
    return {
        "good": good,
        "spaces around": b"\n\t " + good + b" \r\n",
        "unknown field": good[:-1] + b', "later": {"symbol": [1, null, "x"]}}',
        "duplicate key, last good": twice,
        "duplicate key, last bad": good[:-1] + b', "symbol": ""}',
        "other script": good.replace(b"AAPL", "株式".encode()),
        "escaped": good.replace(b"AAPL", rb"\u0041APL"),
        "escaped pair": good.replace(b"AAPL", rb"\ud83d\ude00"),
        "lone surrogate": good.replace(b"AAPL", rb"\ud800"),
        "lone low surrogate": good.replace(b"AAPL", rb"\udc00x"),
        "escaped backslash": good.replace(b"AAPL", rb"\\ud800"),
        "tombstone": None,
        "empty": b"",
        "blank": b"  ",
        "text": b"hello",
        "csv": b"AAPL,585.33,100",
        "schema registry": b"\x00\x00\x00\x00\x01avro",
        "byte order mark": b"\xef\xbb\xbf" + good,
        "utf-16": good.decode().encode("utf-16"),
        "not utf-8": good.replace(b"AAPL", b"AAP\xff"),
        "not utf-8 behind": good + b"\xff",
        "control character": good.replace(b"AAPL", b"AA\x01PL"),
        "zero byte": good.replace(b"AAPL", b"AA\x00PL"),
        "truncated": good[:-1],
        "half": good[: len(good) // 2],
        "single quotes": good.replace(b'"', b"'"),
        "unquoted names": good.replace(b'"symbol"', b"symbol"),
        "comment": good.replace(b"{", b"{/* x */", 1),
        "trailing comma": good[:-1] + b",}",
        "missing comma": good.replace(b",", b" ", 1),
        "trailing text": good + b" x",
        "trailing brace": good + b"}",
        "trailing bracket": good + b"]",
        "trailing number": good + b" 1",
        "trailing comma behind": good + b",",
        "two messages": good + good,
        "two messages with a comma": good + b"," + good,
        "two lines": good + b"\n" + good,
        "closed twice": good + b"]}" + good,
        "array": b"[" + good + b"]",
        "array of two": b"[" + good + b"," + good + b"]",
        "empty array": b"[]",
        "empty object": b"{}",
        "null": b"null",
        "true": b"true",
        "number": b"12",
        "string": json.dumps(good.decode()).encode(),
        "wrapped": b'{"value": ' + good + b"}",
        "nested deep": good[:-1] + b', "later": ' + NESTED.encode() + b"}",
        "only nesting": NESTED.encode(),
        "nested deep, open": b"[" * 10_000,
    }


def _numbers(base: dict[str, object], name: str, values: tuple[object, ...]) -> dict[str, bytes | None]:
    return {f"{name}={value!r}"[:60]: _bytes(base | {name: value}) for value in values}


def _fields(base: dict[str, object], kind: str) -> dict[str, bytes | None]:
    """Return each field missing, null, and of every other type."""
    others: tuple[object, ...] = ("1", "text", "", 1, 1.5, True, [], [1], {}, {"a": 1})
    cases: dict[str, bytes | None] = {}
    for name in base:
        cases[f"{name} missing"] = _bytes({other: value for other, value in base.items() if other != name})
        cases[f"{name}=null"] = _bytes(base | {name: None})
        cases |= _numbers(base, name, tuple(value for value in others if not _fits(name, value)))
    return {f"{kind}: {case}": value for case, value in cases.items()}


def _fits(name: str, value: object) -> bool:
    return name in TEXTS and isinstance(value, str)


def _raw_numbers(base: dict[str, object], *names: str) -> dict[str, bytes | None]:
    return {f"{name}: {raw}": _with_raw(base, name, raw) for name in names for raw in RAW_NUMBERS}


def _integers(base: dict[str, object], *names: str) -> dict[str, bytes | None]:
    wrong = (-1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**30, 1.5)
    cases = {case: value for name in names for case, value in _numbers(base, name, wrong).items()}
    return cases | {f"{name}: {raw}": _with_raw(base, name, raw) for name in names for raw in ("-0", "1e99", "NaN", '"7"')}


def _texts(base: dict[str, object], *names: str) -> dict[str, bytes | None]:
    lengths = ("x" * 32, "x" * 33, "é" * 32, "é" * 33, "x" * 256, "x" * 257, " ")
    return {f"{name}: {len(text)} {text[0]!r}": _bytes(base | {name: text}) for name in names for text in lengths}


def ticks() -> dict[str, bytes | None]:
    """Return values of `ticks` by what they are; some are good."""
    prices = (0, 0.0, -0.0, -1, 1e-300, 1, 999_999_999_999.0, 1e12, 1e300, 10**400)
    sizes = (0, -0.0, 1, -1, 0.00000001, 999_999_999.0, 1e9, 1e300)
    return (
        _shapes(TICK)
        | _fields(TICK, "tick")
        | _numbers(TICK, "price", prices)
        | _numbers(TICK, "size", sizes)
        | _numbers(TICK, "v", (0, 2, -1, 1.5, 10**30))
        | _raw_numbers(TICK, "price", "size")
        | _integers(TICK, "event_ts_us", "clock_ts_us", "seq")
        | _texts(TICK, "symbol", "source")
    )


def sentiments() -> dict[str, bytes | None]:
    """Return values of `sentiment` by what they are; some are good."""
    edges = (0, 1, 0.5, -0.001, 1.001, -1, -1.001)
    three = ("p_positive", "p_negative", "p_neutral")
    sums = {
        f"probabilities {values}": _bytes(
            SENTIMENT | dict(zip(three, values, strict=True)) | {"score": max(-1.0, min(1.0, values[0] - values[1]))}
        )
        for values in ((1, 0, 0), (0.2, 0.3, 0.4999), (0.2, 0.3, 0.4), (0.2, 0.3, 0.52), (0, 0, 0), (1, 1, 1), (-0.5, 1, 0.5))
    }
    return (
        _shapes(SENTIMENT)
        | {f"closing, {case}": value for case, value in _shapes(CLOSING).items()}
        | _fields(SENTIMENT, "sentiment")
        | _fields(CLOSING, "closing")
        | sums
        | {case: value for name in (*three, "score") for case, value in _numbers(SENTIMENT, name, edges).items()}
        | {f"closing, {name}": value for name, value in _numbers(CLOSING, "p_positive", edges).items()}
        | _raw_numbers(SENTIMENT, *three, "score")
        | _integers(SENTIMENT, "event_ts_us", "clock_ts_us")
        | {f"closing, {case}": value for case, value in _integers(CLOSING, "partition", "partitions").items()}
        | _numbers(CLOSING, "partition", (0, 1, 2, 61, 62))
        | _numbers(CLOSING, "partitions", (0, 1, 2, 62, 63))
        | _texts(SENTIMENT, "symbol", "headline_id", "model_id")
    )
