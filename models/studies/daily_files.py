"""Daily prices from files: `us-daily/SYMBOL.csv` and `sse-daily/sse_composite.csv` under one folder.

Columns are found by their names, whatever their order; the first is the date, named or not. What a file lacks stays lacking:
a row without numbers is a row of nulls here, and each study says what it does with it.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from streams.errors import SourceError

US = "us-daily"
SSE = "sse-daily"
INDEX = "sse_composite"
PRICES = ("open", "high", "low", "close")
VOLUME = ("volume", "vol")  # by either name
Days = tuple[str, str, str]
"""First and last day as YYYY-MM-DD, and the first on which no outlier is looked for: judging one needs the day after."""
DAYS: Days = ("2010-01-01", "2024-12-31", "2022-10-01")
HOW = "`tickcast study fetch` downloads it, or pass --data DIR"


def us(folder: Path, symbol: str) -> pl.DataFrame:
    """Return date, symbol, open, high, low, close, volume of a US stock, by date; errors as for :func:`read`."""
    return read(folder / US / f"{symbol}.csv", symbol)


def sse(folder: Path) -> pl.DataFrame:
    """Return the same of the SSE Composite index."""
    return read(folder / SSE / f"{INDEX}.csv", "SSE")


def read(path: Path, symbol: str) -> pl.DataFrame:
    """Return the rows of a file, by date, NaN as null.

    Raises
    ------
    SourceError
        The file is missing, has no rows, lacks a column, has text where numbers belong, or a date twice.
    """
    if not path.is_file():
        raise SourceError(f"there are no daily prices of {symbol}: {path} is missing; {HOW}")
    try:
        raw = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{path} cannot be read as CSV: {error}") from error
    rows = _typed(path, symbol, raw).sort("date")
    if rows.is_empty():
        raise SourceError(f"{path} has no rows; {HOW}")
    twice = rows.filter(pl.col("date").is_duplicated())
    if not twice.is_empty():
        raise SourceError(f"{path} has {twice['date'][0]} more than once; remove one of the rows")
    return rows


def _typed(path: Path, symbol: str, raw: pl.DataFrame) -> pl.DataFrame:
    volume = next((name for name in VOLUME if name in raw.columns), "")
    missing = [name for name in PRICES if name not in raw.columns] + ([] if volume else ["volume"])
    if missing:
        raise SourceError(f"{path} has no column {missing[0]!r}; it has {', '.join(raw.columns)}")
    number = [pl.col(name).str.strip_chars().cast(pl.Float64) for name in PRICES]
    try:
        return raw.select(
            pl.col(raw.columns[0]).str.slice(0, 10).str.to_date().alias("date"),
            pl.lit(symbol).alias("symbol"),
            *number,
            pl.col(volume).cast(pl.Float64).alias("volume"),
        ).with_columns(pl.col(*PRICES, "volume").fill_nan(None))
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{path} has text where a date or a number belongs: {error}") from error
