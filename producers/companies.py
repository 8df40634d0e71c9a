"""Which companies a headline names, for sources whose vendors do not say: by names as they are written, and by ticker symbols.

`companies.csv` has a company's names and the longer names that mean somebody else (`Amazon rainforest`); TICKCAST_COMPANIES adds
a file of the same form. docs/sources.md says how often it is right, on 27,122 headlines that nobody had chosen.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from streams.errors import SourceError

OWN = Path(__file__).with_name("companies.csv")
COLUMNS = {"symbol", "names", "not"}


class Companies:
    """Finds the followed companies in a text.

    Parameters
    ----------
    symbols : iterable of str
        Which companies are followed.
    more : Path or None
        A CSV with the columns symbol, names and not; names are separated by `|`.

    Raises
    ------
    SourceError
        The file is missing or has other columns.

    Examples
    --------
    >>> companies = Companies(["AAPL", "AMZN", "TSLA"])
    >>> companies.named("Apple and Tesla rise; fires in the Amazon rainforest go on")
    ('AAPL', 'TSLA')
    >>> companies.named("Shares of (NASDAQ: AMZN) fall")
    ('AMZN',)
    """

    def __init__(self, symbols: Iterable[str], more: Path | None = None) -> None:
        known = {**_read(OWN), **(_read(more) if more else {})}
        parts = {symbol: known.get(symbol, ((), ())) for symbol in symbols}
        self._patterns = {symbol: _pattern(symbol, *part) for symbol, part in parts.items()}
        # most texts name nobody: a search for plain words says so twenty times as fast
        self._words = {symbol: (symbol, *{name.split()[0] for name in names}) for symbol, (names, _) in parts.items()}

    def named(self, text: str) -> tuple[str, ...]:
        """Return the symbols of the companies that `text` names, in the order of the settings."""
        return tuple(
            symbol for symbol, words in self._words.items() if any(word in text for word in words) and self._is(symbol, text)
        )

    def _is(self, symbol: str, text: str) -> bool:
        return any(found[1] for found in self._patterns[symbol].finditer(text))


def _pattern(symbol: str, names: tuple[str, ...], others: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds a company as group 1, and passes over what only looks like it.

    A name is written as the company writes it: an apple is no company. What means somebody else may begin before the name.
    """
    ticker = rf"(?:\$|\(|[A-Z]+: ?){re.escape(symbol)}(?:\.[A-Z]{{1,2}})?(?![\w.]\w)"
    ours = "|".join([*(rf"(?<![\w&]){_spaced(name)}(?!\w)" for name in sorted(names, key=len, reverse=True)), ticker])
    passed = "|".join(rf"(?<!\w)(?i:{_spaced(other)})" for other in others) or r"(?!)"
    return re.compile(f"(?:{passed})|({ours})")


def _spaced(name: str) -> str:
    return re.escape(name).replace(r"\ ", r"\s+").replace("'", "['\u2019]")


def _read(path: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return dict(_rows(csv.DictReader(file), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"the companies' names in {path} cannot be read: {error}") from error


def _rows(table: csv.DictReader[str], path: Path) -> Iterator[tuple[str, tuple[tuple[str, ...], tuple[str, ...]]]]:
    if not set(table.fieldnames or ()) >= COLUMNS:
        raise SourceError(f"{path} lacks one of the columns {', '.join(sorted(COLUMNS))}")
    for row in table:
        yield row["symbol"].strip().upper(), (_parts(row["names"]), _parts(row["not"]))


def _parts(cell: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (cell or "").split("|") if part.strip())
