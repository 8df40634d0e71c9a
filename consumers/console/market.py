"""What the page shows of each symbol: bars, forecasts, skill. Pure and bounded; `views.py` feeds it."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from itertools import islice

import msgspec

from streams.clock import MINUTE_US
from streams.messages import Features, Forecast, Role, Score, Verdict

MAX_SYMBOLS = 1_000
MAX_LEFT_OUT = 100_000  # names of symbols that there was no room for, to count each once; 10 MB
MAX_BARS = 400  # a US session has 390 minutes
MAX_MODELS = 24  # (horizon, model) pairs of one symbol: eight models at three horizons
MAX_SCORED = 500  # forecasts behind the coverage figures
SPARK_BARS = 30
MAX_RATIOS = 120  # points of a small picture
FIRST_RATIO = 20  # scores before which a ratio jumps about
NEW_TAPE_US = 75 * MINUTE_US  # a revision never reaches further back, so an older time is another tape


class Bar(msgspec.Struct, frozen=True):
    """One minute, stamped at its start."""

    minute_ts_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    revision: int
    final: bool
    ma7: float
    ma21: float


class Skill(msgspec.Struct, frozen=True):
    """How one model did at one horizon. `covered`: interval, as in '80', to [held, of how many]; the rest of the newest score."""

    horizon_min: int
    model_id: str
    role: Role
    rolling_skill: float | None
    rolling_n: int
    dm_p_value: float | None
    verdict: Verdict
    covered: dict[str, tuple[int, int]]
    pt_p_value: float | None = None


class Ratio(msgspec.Struct, frozen=True):
    """The rolling RMSE over a random walk's at one time: below 1 where the model is nearer."""

    target_ts_us: int
    ratio: float


class SymbolRow(msgspec.Struct, frozen=True):
    """One symbol. A snapshot holds all of it, an update only the bars, forecasts and skills that changed.

    `change` is the last price over the close `SPARK_BARS` bars ago, minus 1. With `reset` the reader drops what it had.
    """

    symbol: str
    price: float | None = None
    price_ts_us: int = 0
    change: float | None = None
    spark: list[float] = []
    bars: list[Bar] = []
    forecasts: list[Forecast] = []
    skills: list[Skill] = []
    reset: bool = False


def is_current(ts_us: int, newest_ts_us: int) -> bool:
    """Return whether `ts_us` belongs on the page beside `newest_ts_us`: as new, or of another tape.

    >>> is_current(60, 60), is_current(59, 60), is_current(0, NEW_TAPE_US + 1)
    (True, False, True)
    """
    return ts_us >= newest_ts_us or is_new_tape(ts_us, newest_ts_us)


def is_new_tape(ts_us: int, newest_ts_us: int) -> bool:
    """Return whether event time jumped back further than any revision could."""
    return newest_ts_us - ts_us > NEW_TAPE_US


class _Record:
    """Coverage and skill of one (horizon, model), from its scores; a score that comes twice counts once."""

    def __init__(self) -> None:
        self._covered: OrderedDict[str, dict[str, bool]] = OrderedDict()
        self._latest: Score | None = None
        self._ratios: deque[Ratio] = deque(maxlen=MAX_RATIOS)

    def add(self, score: Score) -> None:
        if score.forecast_id not in self._covered and score.rolling_skill is not None and score.rolling_n >= FIRST_RATIO:
            self._ratios.append(Ratio(score.target_ts_us, math.sqrt(max(0.0, 1 - score.rolling_skill))))
        self._covered[score.forecast_id] = score.covered
        if len(self._covered) > MAX_SCORED:
            self._covered.popitem(last=False)
        if self._latest is None or is_current(score.target_ts_us, self._latest.target_ts_us):
            self._latest = score

    def skill(self) -> Skill:
        latest = self._latest
        assert latest is not None  # noqa: S101 - a record exists from its first score on
        return Skill(
            horizon_min=latest.horizon_min,
            model_id=latest.model_id,
            role=latest.role,
            rolling_skill=latest.rolling_skill,
            rolling_n=latest.rolling_n,
            dm_p_value=latest.dm_p_value,
            verdict=latest.verdict,
            covered=self._coverage(),
            pt_p_value=latest.pt_p_value,
        )

    def ratios(self) -> list[Ratio]:
        """Return the rolling error ratios, oldest first."""
        return list(self._ratios)

    def _coverage(self) -> dict[str, tuple[int, int]]:
        counts: dict[str, tuple[int, int]] = {}
        for covered in self._covered.values():
            for interval, held in covered.items():
                hits, n = counts.get(interval, (0, 0))
                counts[interval] = (hits + held, n + 1)
        return counts


ForecastKey = tuple[int, Role, bool]


class SymbolView:
    """One symbol's state, and what of it changed since the last :meth:`changes`."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._bars: dict[int, Bar] = {}
        self._newest_us = 0
        self._price: float | None = None
        self._price_ts_us = 0
        self._forecasts: dict[ForecastKey, Forecast] = {}
        self._records: OrderedDict[tuple[int, str], _Record] = OrderedDict()
        self._reset = False
        self._changed_bars: set[int] = set()
        self._changed_forecasts: set[ForecastKey] = set()
        self._changed_skills: set[tuple[int, str]] = set()

    def add_features(self, row: Features) -> None:
        """Take one row; an older revision of its minute changes nothing."""
        if is_new_tape(row.minute_ts_us, self._newest_us):
            self._start_again()
        known = self._bars.get(row.minute_ts_us)
        if known and known.revision > row.revision:
            return
        self._bars[row.minute_ts_us] = Bar(
            row.minute_ts_us, row.open, row.high, row.low, row.close, row.volume, row.revision, row.final, row.ma7, row.ma21
        )
        self._changed_bars.add(row.minute_ts_us)
        if row.minute_ts_us >= self._newest_us:
            self._newest_us, self._price, self._price_ts_us = row.minute_ts_us, row.close, row.last_event_ts_us
        while len(self._bars) > MAX_BARS:
            self._forget(min(self._bars))

    def _start_again(self) -> None:
        self._bars.clear()
        self._changed_bars.clear()
        self._newest_us, self._reset = 0, True

    def _forget(self, minute_ts_us: int) -> None:
        del self._bars[minute_ts_us]
        self._changed_bars.discard(minute_ts_us)

    def add_forecast(self, forecast: Forecast) -> None:
        """Take one forecast; only the newest of each (horizon, role, provisional) is kept."""
        key = (forecast.horizon_min, forecast.role, forecast.provisional)
        known = self._forecasts.get(key)
        if known is None or is_current(forecast.as_of_ts_us, known.as_of_ts_us):
            self._forecasts[key] = forecast
            self._changed_forecasts.add(key)

    def add_score(self, score: Score) -> None:
        """Take one score."""
        key = (score.horizon_min, score.model_id)
        self._records.setdefault(key, _Record()).add(score)
        self._records.move_to_end(key)
        self._changed_skills.add(key)
        if len(self._records) > MAX_MODELS:
            oldest, _ = self._records.popitem(last=False)
            self._changed_skills.discard(oldest)

    def bars(self) -> list[Bar]:
        """Return all bars, oldest first."""
        return [self._bars[minute] for minute in sorted(self._bars)]

    def skills(self) -> list[tuple[Skill, list[Ratio]]]:
        """Return how each model did at each horizon, with the course of its error ratio."""
        return [(record.skill(), record.ratios()) for _, record in sorted(self._records.items())]

    def snapshot(self) -> SymbolRow:
        """Return everything but the bars, which :meth:`bars` has."""
        return self._row([], self._forecasts, self._records)

    def changes(self) -> SymbolRow:
        """Return what changed since the last call."""
        row = self._row(sorted(self._changed_bars), self._changed_forecasts, self._changed_skills)
        self._reset = False
        self._changed_bars.clear()
        self._changed_forecasts.clear()
        self._changed_skills.clear()
        return row

    def _row(self, minutes: Iterable[int], forecasts: Iterable[ForecastKey], skills: Iterable[tuple[int, str]]) -> SymbolRow:
        spark = [self._bars[minute].close for minute in sorted(self._bars)[-SPARK_BARS:]]
        return SymbolRow(
            symbol=self.symbol,
            price=self._price,
            price_ts_us=self._price_ts_us,
            change=spark[-1] / spark[0] - 1 if len(spark) > 1 else None,
            spark=spark,
            bars=[self._bars[minute] for minute in minutes],
            forecasts=[self._forecasts[key] for key in sorted(forecasts)],
            skills=[self._records[key].skill() for key in sorted(skills)],
            reset=self._reset,
        )


class MarketView:
    """All symbols; beyond :data:`MAX_SYMBOLS` further ones are counted in `left_out`, not shown."""

    def __init__(self) -> None:
        self._symbols: dict[str, SymbolView] = {}
        self._changed: dict[str, None] = {}
        self._left_out: set[str] = set()

    @property
    def left_out(self) -> int:
        """How many symbols there was no room for; the count itself stops at :data:`MAX_LEFT_OUT`."""
        return len(self._left_out)

    def touch(self, symbol: str) -> SymbolView | None:
        """Return the view of `symbol` to change it, or None where there is no room."""
        if symbol not in self._symbols and len(self._symbols) >= MAX_SYMBOLS:
            if len(self._left_out) < MAX_LEFT_OUT:
                self._left_out.add(symbol)
            return None
        self._changed[symbol] = None
        return self._symbols.setdefault(symbol, SymbolView(symbol))

    def bars(self, symbol: str) -> list[Bar] | None:
        """Return the bars of `symbol`, oldest first, or None where it is unknown."""
        view = self._symbols.get(symbol)
        return view.bars() if view else None

    def skills(self, symbol: str) -> list[tuple[Skill, list[Ratio]]]:
        """Return how each model did with `symbol`; nothing where it is unknown."""
        view = self._symbols.get(symbol)
        return view.skills() if view else []

    @property
    def names(self) -> list[str]:
        """The symbols, in alphabetical order."""
        return sorted(self._symbols)

    def row(self, symbol: str) -> SymbolRow | None:
        """Return everything but the bars of `symbol`, or None where it is unknown."""
        view = self._symbols.get(symbol)
        return view.snapshot() if view else None

    def snapshot(self) -> list[SymbolRow]:
        """Return every symbol, in alphabetical order."""
        return [self._symbols[symbol].snapshot() for symbol in sorted(self._symbols)]

    def changes(self, limit: int = MAX_SYMBOLS) -> list[SymbolRow]:
        """Return the symbols that changed since the last call, at most `limit`; the others come with the next call."""
        symbols = list(islice(self._changed, limit))
        for symbol in symbols:
            del self._changed[symbol]
        return [self._symbols[symbol].changes() for symbol in symbols]
