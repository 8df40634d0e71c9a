"""How often the names in `companies.py` are right: against judgements made by reading, and against other labels.

`judged.csv` has a verdict on each (headline, company) that was found in `full_stream_2015-08-17_28.csv.gz`, a newswire's every
headline of twelve days: right where the headline speaks of that company or its products. The headlines themselves are
not ours to ship, so each stands there as a digest. They were read once the names were written, and no name was changed
after.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from scipy.stats import binomtest

from producers.companies import Companies
from streams.errors import SourceError

JUDGED = Path(__file__).with_name("judged.csv")
STREAM, LABELLED = "full_stream_2015-08-17_28.csv.gz", "reuters_six_companies.csv.gz"
SIX = ("AAPL", "MSFT", "GOOGL", "AMZN", "TSLA", "META")


@dataclass(frozen=True, slots=True)
class Precision:
    """Of so many tags so many are right; `low` and `high` are the 95 % interval of the share (Wilson)."""

    right: int
    of: int
    unjudged: int = 0

    @property
    def share(self) -> float:
        """The share that is right; 0 where nothing was found."""
        return self.right / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies, 95 % of the time."""
        if not self.of:
            return 0.0, 1.0
        found = binomtest(self.right, self.of).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def digest(title: str) -> str:
    """Return what stands for a headline in `judged.csv`."""
    return hashlib.blake2b(title.encode(), digest_size=8).hexdigest()


def judged(folder: Path) -> Precision:
    """Return how many tags of the distinct headlines of a whole newswire are right, as read by a person."""
    with JUDGED.open(newline="") as file:
        verdicts = {(row["headline"], row["symbol"]): row["right"] == "1" for row in csv.DictReader(file)}
    names = Companies(SIX)
    titles = dict.fromkeys(title for title in _table(folder, STREAM)["title"].to_list() if title)
    said = [verdicts.get((digest(title), symbol)) for title in titles for symbol in names.named(title)]
    known = [one for one in said if one is not None]
    return Precision(sum(known), len(known), len(said) - len(known))


def labelled(folder: Path) -> tuple[Precision, Precision]:
    """Return how the tags agree with the labels of headlines that were chosen by name: of the tags, and of the labels."""
    rows = _table(folder, LABELLED).select("title", "tickers_by_name_match").drop_nulls().unique()
    names = Companies(SIX)
    counts: Counter[str] = Counter()
    for title, tickers in rows.iter_rows():
        ours, theirs = set(names.named(title)), set(tickers.replace(",", ";").split(";"))
        counts.update(both=len(ours & theirs), ours=len(ours), theirs=len(theirs))
    return Precision(counts["both"], counts["ours"]), Precision(counts["both"], counts["theirs"])


def write_judged(right: Iterable[tuple[str, str]], wrong: Iterable[tuple[str, str]], path: Path = JUDGED) -> None:
    """Write verdicts on (title, symbol) pairs."""
    rows = [(digest(title), symbol, 1) for title, symbol in right] + [(digest(title), symbol, 0) for title, symbol in wrong]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("headline", "symbol", "right"), *sorted(rows)])


def _table(folder: Path, name: str) -> pl.DataFrame:
    if not (path := folder / name).is_file():
        raise SourceError(f"{folder} has no {name}: --data is the folder with the newswire's headlines")
    return pl.read_csv(path, infer_schema=False)
