"""Daily files like the real ones: other column orders, a row of NaN, a symbol that is listed later."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np

COLUMNS = ("close", "high", "low", "open", "vol")  # the order of the real files of US stocks
LAST = date(2024, 12, 31)


def weekdays(count: int) -> list[date]:
    """Return the last `count` weekdays up to the end of 2024."""
    days = [LAST - timedelta(days=back) for back in range(2 * count)]
    return sorted([day for day in days if day.weekday() < 5][:count])


def bars(count: int, seed: int) -> list[tuple[date, float, float, float, float, float]]:
    """Return a random walk as date, open, high, low, close, volume."""
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, count)))
    first = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(first, close) * 1.002, np.minimum(first, close) * 0.998
    volume = chance.integers(1_000, 9_000, count).astype(float)
    return list(zip(weekdays(count), *(values.tolist() for values in (first, high, low, close, volume)), strict=True))


def stock(folder: Path, symbol: str, rows: list[tuple[date, float, float, float, float, float]], holed: int = -1) -> Path:
    """Write `us-daily/SYMBOL.csv`; row `holed` has no numbers."""
    lines = [f",{','.join(COLUMNS)},vwap"]
    for at, (day, first, high, low, close, volume) in enumerate(rows):
        values = "," * 5 if at == holed else f"{close},{high},{low},{first},{volume},"
        lines.append(f"{day},{values}")
    path = folder / "us-daily" / f"{symbol}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def index(folder: Path, count: int) -> Path:
    """Write `sse-daily/sse_composite.csv`."""
    lines = ["date,open,high,low,close,volume", *(",".join(map(str, row)) for row in bars(count, 9))]
    path = folder / "sse-daily" / "sse_composite.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def headlines(folder: Path) -> Path:
    """Write `headlines/some.csv`: three a month for each of two stocks, 2007 to 2011."""
    told = ("{} beats estimates", "{} cuts its outlook", "{} opens a new office")
    lines = ["time_utc,symbols,title"]
    for month in range(5 * 12):
        at = f"{2007 + month // 12}-{month % 12 + 1:02}-15T10:00:00Z"
        lines += [f"{at},{symbol},{text.format(symbol)} ({month})" for symbol in ("AAPL", "MSFT") for text in told]
    path = folder / "headlines" / "some.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
