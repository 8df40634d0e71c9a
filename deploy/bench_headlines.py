"""The headlines that `tickcast bench sentiment` feeds to Kafka."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from streams import bus
from streams.clock import MINUTE_US
from streams.errors import SourceError
from streams.messages import Headline
from streams.settings import Settings

OWN_HEADLINES = Path(__file__).parents[1] / "models" / "sentiment" / "headlines.csv"

Pair = tuple[str, str]  # headline id and symbol


class Text(NamedTuple):
    """A headline of the bench's input: what it says, and about whom."""

    text: str
    symbols: tuple[str, ...]


def read(path: Path | None, n: int) -> list[Text]:
    """Return the first `n` (0: all) headlines of a CSV with `title` or `text` and `tickers_by_name_match` or `symbols`.

    Without a file: `n` numbered variations (0: 3,000) of this project's own headlines, so that all are distinct.

    Raises
    ------
    SourceError
        The file cannot be read, or has other columns.
    """
    if path is None:
        own = [row["text"] for row in _rows(OWN_HEADLINES)]
        return [Text(f"{own[k % len(own)]} ({k})", ("AAPL", "MSFT")[: 1 + k % 2]) for k in range(n or 3_000)]
    try:
        found = [Text(row.get("title") or row["text"], _symbols(row)) for row in _rows(path)]
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} holds no headlines: a column title or text is needed ({error!r})") from error
    return found[: n or None]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _symbols(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((row.get("tickers_by_name_match") or row.get("symbols") or "NEWS").split(";")))


def feed(settings: Settings, texts: Sequence[Text], first: int = 0) -> set[Pair]:
    """Send `texts` to `headlines`, numbered from `first` on; return the pairs that must come out."""
    with bus.producing(settings) as client:
        for number, item in enumerate(texts, start=first):
            bus.send(client, settings, bus.outgoing("headlines", str(number), _headline(number, item)))
    return {(str(number), symbol) for number, item in enumerate(texts, start=first) for symbol in item.symbols}


def _headline(number: int, item: Text) -> Headline:
    at = number * MINUTE_US
    return Headline(event_ts_us=at, clock_ts_us=at, id=str(number), symbols=list(item.symbols), text=item.text, source="bench")
