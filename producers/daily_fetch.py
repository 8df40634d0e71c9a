"""Daily bars of stocks from Yahoo Finance (`daily_yahoo.py`) into the folder that the studies read, several at a time.

Each symbol is a file, written whole or not at all: a fetch that failed half-way goes on with the symbols that are missing.
Yahoo's terms allow personal use only; the files are for you, not for others.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from pathlib import Path
from typing import NamedTuple

from models.studies.daily_files import INDEX, SSE, US
from producers.daily_yahoo import Bar
from streams.errors import EnvironmentFault, LineLost, SourceError

AT_ONCE = 4
HEADER = ("date", "open", "high", "low", "close", "volume")
SSE_SYMBOL = "000001.SS"

Ask = Callable[[str, date, date], Iterable[Bar]]
"""As :func:`producers.daily_yahoo.bars`."""


class Wanted(NamedTuple):
    """What is fetched, by the feed's name of it, and into which file of the folder."""

    symbol: str
    file: str


def wanted(symbols: Iterable[str]) -> tuple[Wanted, ...]:
    """Return the files of `symbols` and of the SSE Composite index."""
    return (*(Wanted(symbol, f"{US}/{symbol}.csv") for symbol in symbols), Wanted(SSE_SYMBOL, f"{SSE}/{INDEX}.csv"))


def fetch(folder: Path, files: Sequence[Wanted], days: tuple[date, date], ask: Ask, done: Callable[[int], None]) -> list[Path]:
    """Write the files that `folder` lacks, several at a time, and return them; `done` is called with how many are there.

    Raises
    ------
    SourceError
        A symbol is unknown or the feed failed; all others are fetched first, and the next call asks for the missing ones alone.
    EnvironmentFault
        The folder cannot be written.
    """
    due = [one for one in files if not (folder / one.file).is_file()]
    done(len(files) - len(due))
    written, failed = [], []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(ask_all, ask, one.symbol, days): one for one in due}
        for finished in as_completed(running):
            path = folder / running[finished].file
            try:
                _write(path, finished.result())
            except (SourceError, LineLost) as error:
                failed.append(str(error))
                continue
            written.append(path)
            done(len(files) - len(due) + len(written))
    if failed:
        raise SourceError(f"{'; '.join(sorted(failed))}; run it again, and it asks for what is missing")
    return sorted(written)


def ask_all(ask: Ask, symbol: str, days: tuple[date, date]) -> list[Bar]:
    """Return all bars of a symbol, by date, each day once.

    Raises
    ------
    SourceError
        There are none, or the feed failed on the way.
    """
    bars = {bar[0]: bar for bar in ask(symbol, *days) if days[0] <= bar[0] <= days[1]}
    if not any(math.isfinite(bar[4]) for bar in bars.values()):
        raise SourceError(f"the feed has no prices of {symbol} from {days[0]} to {days[1]}; is the symbol right?")
    return sorted(bars.values())


def _write(path: Path, bars: Sequence[Bar]) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    rows.writerows([bar[0].isoformat(), *("" if math.isnan(value) else value for value in bar[1:])] for bar in bars)
    scratch = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text.getvalue(), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror}") from error
