"""Files of bars or ticks as their vendors write them, made into one shape: what `tickcast ingest` reads.

Found by itself, said in one line each, and overridden by :class:`Wanted`: the kind, which column is which, the times' unit
and zone, whether bars are stamped at their start or their end, the interval, the order of the rows. What no market can
have printed (a NaN, a price of 0, a low above a high) is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from producers import prints
from streams.errors import SourceError

Kind = Literal["ohlcv", "ticks"]
Stamp = Literal["start", "end"]
NAMES = {
    "time": ("event_ts_us", "start_ts_us", "timestamp", "datetime", "time_utc", "ts", "time", "date", "open_time", ""),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
    "price": ("price", "last"),
    "size": ("size", "quantity", "qty", "amount"),
    "symbol": ("symbol", "ticker"),
    "conditions": ("conditions", "cond"),
}
BAR_COLUMNS = ("open", "high", "low", "close", "volume")
TICK_COLUMNS = ("price", "size")
INTERVALS = {"1m": 60, "1d": 86_400}
NEW_YORK = "America/New_York"
OPEN_MIN, CLOSE_MIN = 9 * 60 + 30, 16 * 60  # of New York's session, minutes after midnight
HALF_HOUR_MIN = 30  # sessions begin and end at full or half hours
EPOCH_UNITS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (1e30, "ns"))
MAX_PRICE = 1e12


@dataclass(frozen=True)
class Wanted:
    """What the user says about a file; None: find out."""

    kind: Kind | None = None
    symbol: str | None = None
    timezone: str | None = None
    stamp: Stamp | None = None
    interval: str | None = None


@dataclass
class Table:
    """A file's rows, and what was found out about it.

    `rows` has symbol, `ts_us` (ticks: the event time; bars: the START, microseconds UTC) and price, size and conditions (words
    of `prints.py`; empty where the file has none), or open, high, low, close and volume; in the order of time, equal times
    in the file's order.
    """

    path: Path
    kind: Kind
    rows: pl.DataFrame
    interval_s: int = 0
    rows_in_file: int = 0
    dropped: int = 0
    notes: list[str] = field(default_factory=list)


def load(path: Path, wanted: Wanted) -> Table:
    """Return what the file holds.

    Raises
    ------
    SourceError
        It is missing, no table, lacks a column, or its times or interval are not what can be read.
    """
    raw = _raw(path)
    found = _columns(path, raw)
    kind = wanted.kind or _kind(path, found)
    columns = BAR_COLUMNS if kind == "ohlcv" else TICK_COLUMNS
    table = Table(path, kind, _selected(path, raw, found, columns), rows_in_file=raw.height)
    _name_symbol(table, wanted)
    _order(table)
    aware = _place_times(table)
    if kind == "ohlcv":
        _place_bars(table, wanted)
    else:
        _name_conditions(table)
    _to_utc(table, _zone(table, wanted, aware=aware))
    _drop_impossible(table)
    return table


def _raw(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise SourceError(f"the file {path} does not exist")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        # a mask such as 1e5 is hexadecimal, no number of the file
        return pl.read_csv(path, infer_schema_length=None, schema_overrides=dict.fromkeys(NAMES["conditions"], pl.String))
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise SourceError(f"{path} cannot be read as a table: {reason}") from error


def _columns(path: Path, raw: pl.DataFrame) -> dict[str, str]:
    """Return which column of the file has which meaning."""
    there = {name.strip().lower(): name for name in reversed(raw.columns)}
    found = {meaning: there[name] for meaning, names in NAMES.items() for name in reversed(names) if name in there}
    if "time" not in found:
        raise SourceError(f"{path} has no column of times; its columns are {', '.join(raw.columns)}")
    return found


def _kind(path: Path, found: dict[str, str]) -> Kind:
    if {"open", "high", "low", "close"} <= found.keys():
        return "ohlcv"
    if {"price", "size"} <= found.keys():
        return "ticks"
    raise SourceError(f"{path} is neither bars (open, high, low, close) nor ticks (price, size): its columns are {_list(found)}")


def _list(found: dict[str, str]) -> str:
    return ", ".join(found.values())


def _selected(path: Path, raw: pl.DataFrame, found: dict[str, str], columns: tuple[str, ...]) -> pl.DataFrame:
    missing = [name for name in columns if name not in found and name != "volume"]
    if missing:
        raise SourceError(f"{path} has no column {' or '.join(missing)}; its columns are {', '.join(raw.columns)}")
    numbers = [pl.col(found[name]).cast(pl.Float64).alias(name) if name in found else pl.lit(0.0).alias(name) for name in columns]
    texts = [
        (pl.col(found[name]).cast(pl.String) if name in found else pl.lit(None, dtype=pl.String)).alias(name)
        for name in (("symbol", "conditions") if columns == TICK_COLUMNS else ("symbol",))
    ]
    try:
        return raw.select(pl.col(found["time"]).alias("time"), *texts, *numbers)
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"a cell of {path} is not a number: {str(error).strip().splitlines()[0]}") from error


def _name_symbol(table: Table, wanted: Wanted) -> None:
    if wanted.symbol:
        table.rows = table.rows.with_columns(symbol=pl.lit(wanted.symbol))
    elif table.rows["symbol"].is_null().all():
        symbol = table.path.name.split(".")[0].replace("-", "_").split("_")[0].upper()
        table.notes.append(f"symbol {symbol}, from the file's name (--symbol)")
        table.rows = table.rows.with_columns(symbol=pl.lit(symbol))


def _name_conditions(table: Table) -> None:
    named, note = prints.named(table.rows["conditions"].fill_null("").str.strip_chars())
    table.notes += [note] if note else []
    table.rows = table.rows.with_columns(named.alias("conditions"))


def _place_times(table: Table) -> bool:
    """Make `time` a datetime in microseconds; return whether it is UTC already rather than a naive local time."""
    times, aware = _datetimes(table)
    if times.null_count():
        row = times.is_null().arg_true()[0]
        raise SourceError(f"a row of {table.path} has no time that can be read: {table.rows['time'][row]!r}")
    table.rows = table.rows.with_columns(time=times).sort("time", maintain_order=True)
    return aware


def _datetimes(table: Table) -> tuple[pl.Series, bool]:
    times = table.rows["time"]
    if times.dtype.is_numeric():
        return _from_numbers(table, times)
    if times.dtype == pl.String:
        return _from_text(times)
    if not times.dtype.is_temporal():
        raise SourceError(f"the times of {table.path} are of type {times.dtype}: neither text, number nor time")
    aware = isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None
    moved = times.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if aware else times
    return moved.cast(pl.Datetime("us")), aware


def _from_numbers(table: Table, times: pl.Series) -> tuple[pl.Series, bool]:
    if times.is_between(19_000_101, 21_001_231).all():
        table.notes.append("times are dates written as numbers")
        return times.cast(pl.Int64).cast(pl.String).str.to_datetime("%Y%m%d", time_unit="us", strict=False), False
    size = float(times.abs().max() or 0)  # type: ignore[arg-type]
    unit = next(unit for limit, unit in EPOCH_UNITS if size < limit)
    table.notes.append(f"times are {unit} since 1970 UTC")
    factor = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[unit]
    whole = times.cast(pl.Int64) // 1_000 if unit == "ns" else (times * factor).cast(pl.Int64)
    return whole.cast(pl.Datetime("us")), True


def _from_text(times: pl.Series) -> tuple[pl.Series, bool]:
    trimmed = times.str.strip_chars()
    aware = bool(trimmed.str.contains(r"\d:\d\d.*(Z|[+-]\d\d:?\d\d)$").all())
    if aware:
        text = trimmed.str.replace("Z$", "+0000").str.replace(r"([+-]\d\d):(\d\d)$", "$1$2").str.replace(" ", "T")
        return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False).dt.replace_time_zone(None), True
    try:
        return trimmed.str.to_datetime(time_unit="us", strict=False), False
    except pl.exceptions.PolarsError:
        return pl.Series([None] * len(times), dtype=pl.Datetime("us")), False


def _order(table: Table) -> None:
    """Turn a file round whose rows go back in time; later sorting keeps the order of equal times."""
    times = table.rows["time"]
    if times.len() > 1 and not times.is_sorted():
        descending = times.is_sorted(descending=True)
        table.notes.append("rows in descending order: turned round" if descending else "rows out of order: sorted by time")
        table.rows = table.rows.reverse() if descending else table.rows


def _place_bars(table: Table, wanted: Wanted) -> None:
    """Find the interval and the stamp of bars, and move their times to the bars' starts."""
    table.interval_s = _interval(table, wanted)
    stamp: Stamp = wanted.stamp or "start"
    if table.interval_s < INTERVALS["1d"]:
        stamp = wanted.stamp or _stamp(table, _session(table.rows))
    else:
        table.notes.append("daily bars: stamped 00:00 UTC of their date")
        table.rows = table.rows.with_columns(pl.col("time").dt.truncate("1d"))
    if stamp == "end":
        table.rows = table.rows.with_columns(pl.col("time") - pl.duration(seconds=table.interval_s))
    off = table.rows.filter(pl.col("time") != pl.col("time").dt.truncate(f"{table.interval_s}s"))
    if off.height:
        raise SourceError(f"{off.height} bars of {table.path} do not begin on a full minute, as the one at {off['time'][0]}")
    _drop(table, table.rows.unique(["symbol", "time"], keep="last", maintain_order=True), "a bar given twice, the last kept")


def _interval(table: Table, wanted: Wanted) -> int:
    if wanted.interval:
        if wanted.interval not in INTERVALS:
            raise SourceError(f"--interval is {' or '.join(INTERVALS)}, not {wanted.interval!r}")
        return INTERVALS[wanted.interval]
    steps = table.rows.select(pl.col("time").diff().over("symbol").dt.total_seconds()).to_series().drop_nulls()
    usual = _most_common(steps.filter(steps > 0))
    if usual not in INTERVALS.values():
        raise SourceError(f"the bars of {table.path} are {usual or 'an unknown number of'} s apart: bars of 1m and 1d are read")
    table.notes.append(f"bars of {usual} s")
    return usual


def _session(rows: pl.DataFrame) -> tuple[int, int]:
    """Return the most common first and last minute of a day, minutes after midnight."""
    minute = pl.col("time").dt.hour().cast(pl.Int64) * 60 + pl.col("time").dt.minute()
    days = rows.group_by(pl.col("time").dt.date().alias("day")).agg(minute.min().alias("first"), minute.max().alias("last"))
    return _most_common(days["first"]), _most_common(days["last"])


def _most_common(values: pl.Series) -> int:
    """Return the most common whole number, the least of several; 0 of none."""
    return min(values.mode().to_list(), default=0)


def _stamp(table: Table, session: tuple[int, int]) -> Stamp:
    step = table.interval_s // 60
    first, last = (minute % HALF_HOUR_MIN for minute in session)
    stamp: Stamp = "end" if first == step and last == 0 else "start"
    table.notes.append(f"days go from {_clock(session[0])} to {_clock(session[1])}: bars are stamped at their {stamp} (--stamp)")
    return stamp


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _zone(table: Table, wanted: Wanted, *, aware: bool) -> str:
    if aware or table.interval_s == INTERVALS["1d"]:
        return "UTC"
    if wanted.timezone:
        return _checked(wanted.timezone)
    if table.interval_s:
        first, last = _session(table.rows)
        if (first, last + table.interval_s // 60) == (OPEN_MIN, CLOSE_MIN):
            table.notes.append(f"times have no zone, the session is New York's: taken as {NEW_YORK} (--timezone)")
            return NEW_YORK
    table.notes.append("times have no zone: taken as UTC (--timezone)")
    return "UTC"


def _checked(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SourceError(f"--timezone is a name such as {NEW_YORK}, not {zone!r}") from error
    return zone


def _to_utc(table: Table, zone: str) -> None:
    """Turn local times into microseconds UTC; an hour that comes twice is its first, one that does not exist is left out."""
    moved = pl.col("time").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    table.rows = table.rows.with_columns(moved.dt.epoch("us").alias("ts_us")).drop("time")
    _drop(table, table.rows.filter(pl.col("ts_us").is_not_null()), "an hour that the zone leaves out")
    table.rows = table.rows.sort("ts_us", maintain_order=True)


def _drop_impossible(table: Table) -> None:
    columns = BAR_COLUMNS if table.kind == "ohlcv" else TICK_COLUMNS
    whole = pl.all_horizontal(pl.col(*columns).is_not_null() & pl.col(*columns).is_finite())
    _drop(table, table.rows.filter(whole), "no number")
    *prices, amount = columns
    possible = pl.all_horizontal((pl.col(*prices) > 0) & (pl.col(*prices) < MAX_PRICE)) & (pl.col(amount) >= 0)
    if table.kind == "ohlcv":
        inside = [pl.col(name).is_between("low", "high") for name in ("open", "close")]
        possible &= pl.all_horizontal(inside)
    _drop(table, table.rows.filter(possible), "an impossible price or size")


def _drop(table: Table, kept: pl.DataFrame, reason: str) -> None:
    count = table.rows.height - kept.height
    if count:
        table.notes.append(f"{count:,} {'row' if count == 1 else 'rows'} left out: {reason}")
    table.dropped += count
    table.rows = kept


def described(table: Table) -> Iterator[str]:
    """Yield a line of what was read, then one for each thing that was found out."""
    yield f"{table.path.name}: {table.rows_in_file:,} rows of {table.kind}, {table.rows.height:,} taken"
    yield from (f"  {note}" for note in table.notes)
    if table.dropped == table.rows_in_file:
        yield "  nothing is left"
