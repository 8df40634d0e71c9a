"""The simulated market: a price and news process that is a function of its parameters alone; no clock, no Kafka.

Prices and headlines are made in two layers. Here each minute's return is drawn, in order; `minute.py` fills a minute with
trades when they are asked for. So the same market is seen at any rate, and minutes already sent are skipped at no cost.

    return of a minute = sigma z - sigma^2 / 2 + jump + news
    sigma  = base x regime (calm or turbulent, one Markov chain for all) x exp(AR(1)) x U-shape over the session
    news   = a share of the `pressure` that headlines have left: each adds tone x news_effect x base, from the next minute on

Without news the price is a martingale. `simulated.py` maps this onto the wall clock or a calendar.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Literal

import numpy as np

from producers.minute import Floats, Minute, News
from producers.newswire import Tone, write
from streams.clock import MINUTE_US
from streams.errors import SettingsError
from streams.settings import Settings

# First price and volatility of a minute (log-return units) of the symbols that people know.
KNOWN = {
    "AAPL": (228.0, 7.0e-4),
    "MSFT": (425.0, 6.5e-4),
    "GOOGL": (176.0, 8.0e-4),
    "AMZN": (201.0, 8.5e-4),
    "TSLA": (262.0, 1.6e-3),
    "META": (565.0, 9.5e-4),
}
SESSION_MIN = 390
CALM, TURBULENT = 0.6, 1.64  # with the stays below the mean square is 1, so `base` is the typical volatility
LEAVE_CALM, LEAVE_TURBULENT = 1 / 120, 1 / 45  # chance a minute: calm lasts two hours, turbulence 45 minutes on average
PERSISTENCE, SPREAD = 0.97, 0.35  # log-volatility: its autocorrelation at one minute, its standard deviation
JUMP_CHANCE, JUMP_SIZE = 1 / 390, 6.0  # about one a session and symbol; in units of `base`
GAP_SIZE = 12.0  # the move between sessions, in units of `base`
NEWS_MEMORY_MIN = 12.0  # 92 % of a headline's effect comes within 30 minutes
TONES: tuple[Tone, ...] = (1, -1, 0)
TONE_CHANCE = (0.4, 0.4, 0.2)
PAIR_CHANCE = 0.12
PRICES, NEWS, COUNTS, TRADES = range(1, 5)  # the random streams; never 0, which a seed sequence cannot tell from nothing
PATHS = {"live": 1, "history": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Everything that decides what happens; equal markets give equal events.

    Parameters
    ----------
    rate : float
        Trades a second over all symbols together, on average.
    headlines_per_hour : float
        Headlines an hour for each symbol, on average.
    news_effect : float
        What a headline moves the price in all, in units of the symbol's volatility of a minute; 0: news means nothing.
    random_walk : bool
        Constant volatility, no jumps, no gaps, and headlines without effect, for honesty checks.
    session_min, break_min : int
        Minutes of a session and of the break after it; `session_min` 0: one session that never ends.
    path : {"live", "history"}
        Two markets that share nothing but their laws: a model must not be trained on the path that it will forecast.

    Raises
    ------
    SettingsError
        A value that makes no market.
    """

    symbols: tuple[str, ...] = Settings().symbol_list
    seed: int = 1
    rate: float = 6.0
    headlines_per_hour: float = 6.0
    news_effect: float = 3.0
    random_walk: bool = False
    session_min: int = 0
    break_min: int = 5
    path: Literal["live", "history"] = "live"

    def __post_init__(self) -> None:
        wrong = {
            "at least one symbol, each once": not self.symbols or len(set(self.symbols)) < len(self.symbols),
            "a seed from 0 to 4294967295": not 0 <= self.seed < 2**32,
            "a rate above 0 and at most 1000000 trades a second": not 0 < self.rate <= 1e6,
            "0 to 1000 headlines an hour": not 0 <= self.headlines_per_hour <= 1e3,
            "a finite news effect": not math.isfinite(self.news_effect),
            "sessions of 0 or more minutes, breaks of 1 or more": self.session_min < 0 or self.break_min < 1,
        }
        for need in (text for text, is_wrong in wrong.items() if is_wrong):
            raise SettingsError(f"a simulated market needs {need}")

    def stream(self, *name: int) -> tuple[int, ...]:
        """Return the seed of one stream of random numbers of this market."""
        return (self.seed, PATHS[self.path], *name)

    def characters(self) -> tuple[Floats, Floats]:
        """Return first prices and volatilities of a minute, a value for each symbol."""
        rows = np.array([KNOWN.get(symbol) or _character(symbol) for symbol in self.symbols])
        return rows[:, 0], rows[:, 1]


def _character(symbol: str) -> tuple[float, float]:
    digest = zlib.crc32(symbol.encode())
    return 20.0 + digest % 380, 6e-4 + (digest // 380 % 10) * 1e-4


def minutes(market: Market) -> Iterator[Minute]:
    """Yield the minutes of `market` from its start, without end."""
    process = _Process(market)
    for number in count():
        yield process.step(number)


def tones(market: Market, n_minutes: int) -> dict[str, Tone]:
    """Return the hidden tone of each headline id in the first `n_minutes`, for tests and evaluation only."""
    return {item.id: item.tone for minute in islice(minutes(market), n_minutes) for item in minute.news}


def shape(position: float) -> float:
    """Return the U of the day at a position in [0, 1] of the session: high at both ends, mean square about 1."""
    return 0.7 + 0.8 * (2 * position - 1) ** 2


class _Process:
    """What one minute hands to the next: prices, volatility, the regime and the news not yet in the price."""

    def __init__(self, market: Market) -> None:
        self._market = market
        first, self._base = market.characters()
        self._log_price = np.log(first)
        self._log_volatility = np.zeros(len(first))
        self._pressure = np.zeros(len(first))
        self._turbulent = False
        self._next_seq = self._next_news = 0
        self._prices, self._news, self._counts = (np.random.default_rng(market.stream(name)) for name in (PRICES, NEWS, COUNTS))

    def step(self, number: int) -> Minute:
        """Return minute `number` and move to its end; called for every number in order."""
        market = self._market
        session, session_minute = divmod(number, market.session_min) if market.session_min else (0, number)
        if session and not session_minute:
            self._open_session()
        start_us = (number + session * market.break_min) * MINUTE_US
        minute = self._minute(number, session, session_minute, start_us)
        self._log_price, self._next_seq = minute.close, minute.last_seq + 1
        self._take_in(minute.news)
        return minute

    def _open_session(self) -> None:
        """Move the price over the break: all news that is left, and a gap."""
        size = 0.0 if self._market.random_walk else GAP_SIZE
        shock = self._prices.standard_normal(len(self._base))
        self._log_price = self._log_price + self._pressure + _martingale(size * self._base, shock)
        self._pressure[:] = 0.0

    def _minute(self, number: int, session: int, session_minute: int, start_us: int) -> Minute:
        market, n_symbols = self._market, len(self._base)
        noise, innovation, jump_noise = self._prices.standard_normal((3, n_symbols))
        jump_chance, jump_at = self._prices.random((2, n_symbols))
        length = market.session_min or SESSION_MIN
        busyness = 1.0 if market.random_walk else shape((session_minute % length + 0.5) / length)
        sigma = self._sigma(innovation, float(self._prices.random())) * busyness
        jumps = (jump_chance < JUMP_CHANCE) & (not market.random_walk)
        released = self._pressure * -math.expm1(-1 / NEWS_MEMORY_MIN)
        self._pressure = self._pressure - released
        return Minute(
            symbols=market.symbols,
            seed=market.stream(TRADES, number),
            start_us=start_us,
            session=session,
            session_minute=session_minute,
            ends_session=session_minute + 1 == market.session_min,
            open=self._log_price,
            drift=_martingale(sigma, noise) + released,
            sigma=sigma,
            jump=_martingale(jumps * JUMP_SIZE * self._base, jump_noise),
            jump_at=jump_at,
            busyness=busyness,
            n_trades=int(self._counts.poisson(market.rate * 60)),
            first_seq=self._next_seq,
            news=self._headlines(start_us),
        )

    def _sigma(self, innovation: Floats, chance: float) -> Floats:
        """Move regime and volatility on by a minute; return the volatility of this minute, without the U of the day."""
        self._turbulent ^= chance < (LEAVE_TURBULENT if self._turbulent else LEAVE_CALM)
        kick = SPREAD * math.sqrt(1 - PERSISTENCE**2)
        self._log_volatility = PERSISTENCE * self._log_volatility + kick * innovation
        if self._market.random_walk:
            return self._base
        regime = TURBULENT if self._turbulent else CALM
        return np.asarray(self._base * regime * np.exp(self._log_volatility - SPREAD**2))

    def _headlines(self, start_us: int) -> tuple[News, ...]:
        lead = np.repeat(np.arange(len(self._base)), self._news.poisson(self._market.headlines_per_hour / 60, len(self._base)))
        at = np.sort(self._news.integers(MINUTE_US, size=len(lead)))
        return tuple(
            self._headline(start_us + int(offset), int(who)) for offset, who in zip(at, self._news.permutation(lead), strict=True)
        )

    def _headline(self, offset_us: int, who: int) -> News:
        market, rng = self._market, self._news
        tone = TONES[rng.choice(len(TONES), p=TONE_CHANCE)]
        about: tuple[str, ...] = (market.symbols[who],)
        if len(market.symbols) > 1 and rng.random() < PAIR_CHANCE:
            about += (market.symbols[(who + int(rng.integers(1, len(market.symbols)))) % len(market.symbols)],)
        self._next_news += 1
        prefix = "sim" if market.path == "live" else f"sim-{market.path}"
        return News(offset_us, f"{prefix}-{market.seed}-{self._next_news - 1}", about, write(rng, tone, about), tone)

    def _take_in(self, news: tuple[News, ...]) -> None:
        """Let headlines press on prices from the next minute on, so that no price moves before its news is out."""
        effect = 0.0 if self._market.random_walk else self._market.news_effect
        for item in news:
            for symbol in item.symbols:
                who = self._market.symbols.index(symbol)
                self._pressure[who] += item.tone * effect * self._base[who]


def _martingale(sigma: Floats, shock: Floats) -> Floats:
    """Return normal log returns whose exponential has mean 1."""
    return sigma * shock - sigma**2 / 2
