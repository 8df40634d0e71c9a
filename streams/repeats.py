"""Each contribution once, without letting a closing overtake what it closes.

Spark's `dropDuplicates` shuffles by ALL of its columns, so records of one symbol would go through different tasks and could
overtake each other on their way to the aggregation; a row would be final before all that its closing closes is in. The
columns therefore end with `steer`, a number computed from the others such that the hash of all of them leads to the task of
the symbol: one task per symbol, first in, first out, as without `dropDuplicates`. So do the keys of the aggregation, by which
a symbol's minutes would part otherwise.

Spark takes a row to task `pmod(hash(columns), tasks)`, where `hash` is Murmur3 (x86, 32 bit; Austin Appleby, public domain)
folded over the columns from left to right. Each step of Murmur3 can be undone, so for the hash `seed` of the other columns
there is exactly one 32-bit `steer` that makes the whole hash a wanted one. `tests/streams/test_repeats.py` holds Spark to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

WORD = 0xFFFFFFFF
C1, C2, C3, C4 = 0xCC9E2D51, 0x1B873593, 0x85EBCA6B, 0xC2B2AE35
FIVE, ADDED = 5, 0xE6546B64
BYTES = 4  # of an int, which the finish of Murmur3 mixes in


def once(contributions: DataFrame, tasks: int) -> DataFrame:
    """Return `contributions` without repeats.

    Parameters
    ----------
    contributions : DataFrame
        With `symbol`; `minute`, which has the watermark that evicts what is remembered; and `identity`: equal for equal
        contributions of one minute, other for others. Bounded or streaming.
    tasks : int
        How many tasks a shuffle has: `spark.sql.shuffle.partitions`.
    """
    # at most four columns: of more, Spark chooses the order
    keys = ["minute", "identity"]
    return led_home(contributions, keys, tasks).dropDuplicates([*keys, "steer"]).drop("identity", "steer")


def led_home(rows: DataFrame, keys: Sequence[str], tasks: int) -> DataFrame:
    """Return `rows` with the column `steer`: shuffled by `keys` and it, all rows of a `symbol` come to one of `tasks`."""
    home = F.pmod(F.hash("symbol"), F.lit(tasks))
    return rows.withColumn("steer", steer(F.hash(*keys), home, tasks))


def steer(seed: Column, task: Column, tasks: int) -> Column:
    """Return the int which, hashed on top of `seed`, gives a hash that leads to `task` of `tasks`."""
    wanted = F.get(F.array(*[F.lit(_before_seed(number)) for number in range(tasks)]), task)
    mixed = wanted.bitwiseXOR(seed.cast("long").bitwiseAND(F.lit(WORD)))
    unrotated = _rotated(_times(mixed, _inverse(C2)), 32 - 15)
    return _signed(_times(unrotated, _inverse(C1)))


def _before_seed(wanted: int) -> int:
    """Return seed XOR mixed input from which the hash `wanted` comes: the last part of Murmur3 backwards, once per plan."""
    word = wanted ^ wanted >> 16
    word = word * _inverse(C4) & WORD
    word ^= word >> 13 ^ word >> 26
    word = word * _inverse(C3) & WORD
    word ^= word >> 16
    word ^= BYTES
    word = (word - ADDED) * _inverse(FIVE) & WORD
    return (word >> 13 | word << 19) & WORD


def _inverse(factor: int) -> int:
    return pow(factor, -1, 1 << 32)


def _times(word: Column, factor: int) -> Column:
    """Return word * factor modulo 2**32, in halves: Spark's longs must not overflow."""
    high = F.shiftright(word, 16) * F.lit(factor)
    low = word.bitwiseAND(F.lit(0xFFFF)) * F.lit(factor)
    return (F.shiftleft(high.bitwiseAND(F.lit(0xFFFF)), 16) + low).bitwiseAND(F.lit(WORD))


def _rotated(word: Column, by: int) -> Column:
    return F.shiftleft(word, by).bitwiseOR(F.shiftright(word, 32 - by)).bitwiseAND(F.lit(WORD))


def _signed(word: Column) -> Column:
    return (word.bitwiseXOR(F.lit(1 << 31)) - F.lit(1 << 31)).cast("int")
