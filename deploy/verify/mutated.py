"""Bad bytes from good ones: what wrong programs, bad disks and bad people may send, made from a message at random.

Half of them are changed as bytes, half as JSON. Some are still good messages: whoever uses them asks `streams/codec.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

DEEP = 2_000  # levels of nesting: more than Python's own limit
LONG = 20_000  # characters
ODD: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e300,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**40,
    "",
    " ",
    "1",
    "x" * 257,
    "\u0000",
    "\ud800",
    "株式",
    [],
    [[]],
    {},
    {"a": None},
)
RAW = ("NaN", "-Infinity", "1e999", "01", "+1", ".5", "0x10", "[" * DEEP, "{" * 9, "'text'", "undefined", '"\\ud800"', "1_0")
WHOLE: Sequence[bytes | None] = (
    None,
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"\xef\xbb\xbf{}",
    b"\x00\x00\x00\x00\x01",
    b"[" * DEEP,
)


def mutated(good: bytes, chance: random.Random) -> bytes | None:
    """Return `good`, one JSON object, with one to three things about it changed; None for no value at all."""
    value: bytes | None = good
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if value is None:
            break
        value = chance.choice(_CHANGES)(value, chance)
    return value


def _place(value: bytes, chance: random.Random) -> tuple[int, int]:
    begin = chance.randrange(len(value) + 1)
    return begin, min(len(value), begin + chance.randrange(1, 9))


def _flip(value: bytes, chance: random.Random) -> bytes:
    if not value:
        return value
    at = chance.randrange(len(value))
    return value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :]


def _cut(value: bytes, chance: random.Random) -> bytes:
    begin, end = _place(value, chance)
    return value[:begin] + value[end:]


def _end(value: bytes, chance: random.Random) -> bytes:
    return value[: chance.randrange(len(value) + 1)]


def _insert(value: bytes, chance: random.Random) -> bytes:
    begin, _ = _place(value, chance)
    return value[:begin] + chance.randbytes(chance.randrange(1, 9)) + value[begin:]


def _repeat(value: bytes, chance: random.Random) -> bytes:
    begin, end = _place(value, chance)
    return value[:end] + value[begin:end] * chance.randrange(1, 9) + value[end:]


def _behind(value: bytes, chance: random.Random) -> bytes:
    return value + chance.choice((value, b"}", b"]", b",", b" 1", b"\n" + value, b"\xff"))


def _whole(_value: bytes, chance: random.Random) -> bytes | None:
    return chance.choice((*WHOLE, chance.randbytes(chance.randrange(64))))


def _of_fields(change: Callable[[dict[str, Any], random.Random], object]) -> Callable[[bytes, random.Random], bytes]:
    """Return a change of a message's bytes that changes its fields; what is no object any more stays as it is."""

    def changed(value: bytes, chance: random.Random) -> bytes:
        try:
            fields = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if not isinstance(fields, dict) or not fields:
            return value
        return str(change(fields, chance)).encode(errors="surrogatepass")

    return changed


def _text(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def _odd(fields: dict[str, Any], chance: random.Random) -> str:
    return _text(fields | {chance.choice(list(fields)): chance.choice(ODD)})


def _raw(fields: dict[str, Any], chance: random.Random) -> str:
    return _text(fields | {chance.choice(list(fields)): "RAW"}).replace('"RAW"', chance.choice(RAW))


def _without(fields: dict[str, Any], chance: random.Random) -> str:
    name = chance.choice(list(fields))
    return _text({other: value for other, value in fields.items() if other != name})


def _swapped(fields: dict[str, Any], chance: random.Random) -> str:
    one, other = chance.choice(list(fields)), chance.choice(list(fields))
    return _text(fields | {one: fields[other], other: fields[one]})


def _twice(fields: dict[str, Any], chance: random.Random) -> str:
    name = chance.choice(list(fields))
    return _text(fields)[:-1] + f",{json.dumps(name)}:{json.dumps(chance.choice(ODD))}}}"


def _more(fields: dict[str, Any], chance: random.Random) -> str:
    return _text(fields | {"later": chance.choice(ODD)})


def _long(fields: dict[str, Any], chance: random.Random) -> str:
    return _text(fields | {chance.choice(list(fields)): "x" * chance.randrange(LONG)})


def _scaled(fields: dict[str, Any], chance: random.Random) -> str:
    numbers = [name for name, value in fields.items() if isinstance(value, int | float)]
    name = chance.choice(numbers) if numbers else "v"
    return _text(fields | {name: fields.get(name, 1) * chance.choice((-1, 0, 0.5, 1.0, 1000, 1e30))})


_BYTES = (_flip, _cut, _end, _insert, _repeat, _behind, _whole)
_FIELDS = (_odd, _raw, _without, _swapped, _twice, _more, _long, _scaled)
_CHANGES = (*_BYTES, *map(_of_fields, _FIELDS))
