"""Headlines of stocks from files: every `headlines*/*.csv` or `.csv.gz` under a folder that says which stocks it names.

Columns are found by name: a time (`time_utc`, or `event_ts_us` in microseconds), the stocks (`tickers_by_name_match` or
`symbols`, separated by `;`), the text (`title` or `text`), and `url` where there is one. A file without stocks is passed over: it
is a stream of news about everything. A title that comes again for the same stock is one story, told when it came first.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from streams.errors import SourceError

TIMES = ("event_ts_us", "time_utc")
SYMBOLS = ("symbols", "tickers_by_name_match")
TITLES = ("text", "title")


def stories(folder: Path) -> pl.DataFrame:
    """Return symbol, event_ts_us, title, url of all headlines under `folder`, by symbol and time; none where there is no file.

    Raises
    ------
    SourceError
        A file cannot be read as what it says it is.
    """
    tables = [table for path in sorted(folder.glob("headlines*/*.csv*")) if (table := _table(path)) is not None]
    if not tables:
        return pl.DataFrame(schema={"symbol": pl.String, "event_ts_us": pl.Int64, "title": pl.String, "url": pl.String})
    rows = pl.concat(tables).filter(pl.col("title").str.strip_chars() != "").sort("symbol", "event_ts_us", "title", "url")
    return rows.unique(["symbol", "title"], keep="first", maintain_order=True)


def _table(path: Path) -> pl.DataFrame | None:
    try:
        raw = pl.read_csv(path, infer_schema=False)
        time, symbols, title = (next((name for name in names if name in raw.columns), "") for names in (TIMES, SYMBOLS, TITLES))
        if not (time and symbols and title):
            return None
        return raw.select(
            pl.col(symbols).str.split(";").alias("symbol"),
            _moment(time).alias("event_ts_us"),
            pl.col(title).fill_null("").alias("title"),
            (pl.col("url").fill_null("") if "url" in raw.columns else pl.lit("")).alias("url"),
        ).explode("symbol")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{path} cannot be read as headlines: {error}") from error


def _moment(column: str) -> pl.Expr:
    if column == "event_ts_us":
        return pl.col(column).cast(pl.Int64)
    return pl.col(column).str.to_datetime(time_zone="UTC", time_unit="us").cast(pl.Int64)
