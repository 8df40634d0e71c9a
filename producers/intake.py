"""Which stories go on: new ones, once, with the followed symbols that they are about.

The same story comes by several ways and several times: with the same id, with the same words, or with nearly the same ones, which
MinHash finds (`datasketch`; A. Broder, "On the resemblance and containment of documents", 1997).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from datasketch import MinHash, MinHashLSH

from producers.base import Story
from producers.companies import Companies

PERMUTATIONS = 64
ALIKE = 0.7  # of the three-letter pieces: an updated headline shares more, another one less
LEAST_WORDS = 5  # shorter texts are alike by their form alone ("Apple rises", "Apple falls")
KEPT = 20_000  # stories
LONGEST_TEXT, LONGEST_URL, LONGEST_ID = 4_000, 2_000, 200  # characters: no headline's, and far below what a record may hold


class Intake:
    """Takes stories, and lets through what is new and about a followed symbol.

    Parameters
    ----------
    companies : Companies or None
        Finds symbols where a vendor gives none; None: such stories are about nothing.
    symbols : iterable of str
        What is followed; none: everything.

    Attributes
    ----------
    counts : Counter
        Stories that did not go on, by reason.
    """

    def __init__(self, companies: Companies | None = None, symbols: Iterable[str] = ()) -> None:
        self._companies = companies
        self._followed = frozenset(symbols)
        self._ids: OrderedDict[str, str] = OrderedDict()
        self._texts: Counter[str] = Counter()
        self._alike = MinHashLSH(threshold=ALIKE, num_perm=PERMUTATIONS)
        self.counts: Counter[str] = Counter()

    def take(self, story: Story) -> Story | None:
        """Return `story` with its symbols, cut to a headline's size, or None where it does not go on."""
        story = cut(story)
        if story.id in self._ids:
            return None  # a feed that is polled says the same each time
        symbols = self._symbols(story)
        if not symbols:
            self.remember(story.id, "")
            self.counts["stories of no symbol"] += 1
            return None
        if self._is_known(story.text):
            self.remember(story.id, "")
            self.counts["stories alike"] += 1
            return None
        self.remember(story.id, story.text)
        return replace(story, symbols=symbols)

    def remember(self, id_: str, text: str) -> None:
        """Note that a story was told; the oldest are forgotten."""
        if id_ in self._ids:
            return
        words = plain(text)
        self._ids[id_] = words
        self._texts[words] += 1
        if len(words.split()) >= LEAST_WORDS:
            self._alike.insert(id_, _hash(words), check_duplication=False)
        if len(self._ids) > KEPT:
            self._forget()

    def _forget(self) -> None:
        id_, words = self._ids.popitem(last=False)
        self._texts[words] -= 1
        if not self._texts[words]:
            del self._texts[words]
        if id_ in self._alike:
            self._alike.remove(id_)

    def _is_known(self, text: str) -> bool:
        words = plain(text)
        if self._texts[words] > 0:
            return True
        return len(words.split()) >= LEAST_WORDS and any(
            self._says_the_same(words, id_) for id_ in self._alike.query(_hash(words))
        )

    def _says_the_same(self, words: str, id_: str) -> bool:
        """Return whether an alike story says the same: another number, or another company, is other news."""
        other = self._ids[id_]
        return _numbers(words) == _numbers(other) and _similarity(words, other) >= ALIKE

    def _symbols(self, story: Story) -> tuple[str, ...]:
        told = tuple(dict.fromkeys(symbol.strip().upper() for symbol in story.symbols if symbol.strip()))
        if not told and self._companies is not None:
            told = self._companies.named(story.text)
        return tuple(symbol for symbol in told if not self._followed or symbol in self._followed)


def cut(story: Story) -> Story:
    """Return `story` no larger than a headline can be: a feed may hold anything, and one record must not end the producer.

    >>> len(cut(Story(0, "7", ("AAPL",), "Apple rises " * 1_000)).text)
    4000
    """
    if len(story.text) <= LONGEST_TEXT and len(story.url) <= LONGEST_URL and len(story.id) <= LONGEST_ID:
        return story
    id_ = story.id if len(story.id) <= LONGEST_ID else hashlib.sha256(story.id.encode()).hexdigest()
    url = story.url if len(story.url) <= LONGEST_URL else ""  # half an address leads nowhere
    return replace(story, id=id_, text=story.text[:LONGEST_TEXT], url=url)


def plain(text: str) -> str:
    """Return `text` without case, punctuation and a newswire's mark of an update.

    >>> plain("UPDATE 2-Apple's profit rises 12.5%, beats estimates")
    'apple s profit rises 12.5 beats estimates'
    """
    bare = re.sub(r"^(?:(?:UPDATE|CORRECTED|REFILE|WRAPUP|RPT)(?: \d+)?-)+", "", text.strip())
    return " ".join(re.findall(r"\d+(?:[.,]\d+)*|\w+", bare.casefold()))


def _pieces(words: str) -> set[str]:
    return {words[at : at + 3] for at in range(max(1, len(words) - 2))}


def _similarity(one: str, other: str) -> float:
    ours, theirs = _pieces(one), _pieces(other)
    return len(ours & theirs) / len(ours | theirs)


def _numbers(words: str) -> set[str]:
    return set(re.findall(r"\d[\d.,]*", words))


def _hash(words: str) -> MinHash:
    made = MinHash(num_perm=PERMUTATIONS)
    made.update_batch([piece.encode() for piece in sorted(_pieces(words))])
    return made
