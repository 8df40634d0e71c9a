"""The simulated market keeps its laws: what it says of itself is measured on what it emits, at fixed seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from producers.base import Event, Story, Trade
from producers.market import TONES, Market, minutes
from producers.minute import PART_TRADES, bridge
from producers.newswire import COMPANIES, NEGATIVE, NEUTRAL, POSITIVE, write
from producers.simulated import Simulated
from streams.clock import minute_start_us
from streams.errors import SettingsError

NOW_US = 1_750_082_400_000_000  # Monday 2025-06-16 14:00 UTC
DAYS = 20


def minute_closes(events: Iterable[Event], symbols: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the last log price of each minute and symbol, carried over where a minute has no trade."""
    closes: dict[int, list[float]] = {}
    last = [np.nan] * len(symbols)
    for event in events:
        if isinstance(event, Trade):
            last[symbols.index(event.symbol)] = float(np.log(event.price))
            closes[minute_start_us(event.event_ts_us)] = last.copy()
    return np.array([closes[minute] for minute in sorted(closes)])


def autocorrelation(series: NDArray[np.float64], lag: int = 1) -> float:
    """Return the mean over columns."""
    columns = series.T
    return float(np.mean([np.corrcoef(column[:-lag], column[lag:])[0, 1] for column in columns]))


@cache
def returns(**parameters: float) -> NDArray[np.float64]:
    """Return minute returns within sessions, from the trades of twenty days."""
    source = Simulated(Market(seed=11, **parameters))  # type: ignore[arg-type]
    closes = minute_closes(source.history(DAYS, NOW_US), source.market.symbols)
    sessions = closes.reshape(DAYS, 390, -1)
    return np.diff(sessions, axis=1)[:, 5:].reshape(-1, closes.shape[1])


def news_regression(market: Market, n_minutes: int) -> tuple[float, float]:
    """Return slope and t statistic of the next 30 minutes' return (in volatilities) on the tone of the minute's news."""
    path = list(islice(minutes(market), n_minutes))
    _, base = market.characters()
    prices = np.array([minute.close for minute in path]) / base
    tone = np.zeros_like(prices)
    for index, minute in enumerate(path):
        for item in minute.news:
            for symbol in item.symbols:
                tone[index, market.symbols.index(symbol)] += item.tone
    future, x = (prices[30:] - prices[:-30]).ravel(), tone[:-30].ravel()
    slope = float(x @ future / (x @ x))
    # Windows overlap, so their errors are alike; the tones are independent, which is what the plain formula needs.
    return slope, slope / float(np.std(future - slope * x) / np.sqrt(x @ x))


def test_a_minute_in_parts_resumes_at_any_trade_and_loses_no_story() -> None:
    minute = next(minutes(Market(rate=300.0, headlines_per_hour=600.0, session_min=1)))
    whole = list(minute.events(lambda offset_us: offset_us))
    assert minute.n_trades > 3 * PART_TRADES and len(minute.news) > 30
    assert len(whole) == minute.n_trades + len(minute.news) + 1
    assert all(a.event_ts_us <= b.event_ts_us for a, b in pairwise(whole))
    places = {event.seq: place for place, event in enumerate(whole) if isinstance(event, Trade)}
    before_stories = [place - 1 for place, event in enumerate(whole) if isinstance(event, Story) and place]
    neighbours = [event.seq for event in (whole[place] for place in before_stories) if isinstance(event, Trade)]
    for seq in [*neighbours, *range(0, minute.n_trades, 499), minute.n_trades - 1]:
        assert list(minute.events(lambda offset_us: offset_us, seq)) == whole[places[seq] + 1 :]


def test_the_path_does_not_depend_on_rate() -> None:
    slow, quick = (list(islice(minutes(Market(rate=rate)), 200)) for rate in (0.5, 500.0))
    assert all(np.array_equal(a.close, b.close) and a.news == b.news for a, b in zip(slow, quick, strict=True))


def test_trades_of_a_minute_lie_on_its_path() -> None:
    """Quadratic variation between trades is that of the minute, and the last trades are near its close; some in 8 parts."""
    market = Market(symbols=("A", "B"), rate=500.0, random_walk=True, headlines_per_hour=0)
    _, base = market.characters()
    path = list(islice(minutes(market), 40))
    variations, misses = [], []
    for minute in path:
        _, who, prices, _ = minute.trades()
        for symbol in range(2):
            logs = np.log(prices[who == symbol])
            coarse = logs[::200]  # wide enough apart that the rounding to cents is small beside the moves
            variations.append(np.mean(np.diff(coarse) ** 2) * len(logs) / 200 / base[symbol] ** 2)
            misses.append((logs[-1] - minute.close[symbol]) / base[symbol])
    assert 0.9 < np.mean(variations) < 1.15
    assert np.abs(misses).max() < 0.2


def test_bridges_are_pinned_and_have_their_variance() -> None:
    rng = np.random.default_rng(5)
    at, who = np.array([0.1, 0.5, 0.5, 0.9]), np.array([0, 0, 2, 2])
    draws = np.array([bridge(rng, at, who, 3) for _ in range(20_000)])
    assert np.allclose(draws.var(axis=0), at * (1 - at), rtol=0.05)
    assert np.isclose(np.cov(draws.T)[0, 1], 0.1 * 0.5, atol=0.005)  # of one symbol: s (1 - t)
    assert abs(np.cov(draws.T)[1, 2]) < 0.005  # of two symbols: none


def test_without_news_the_price_is_a_martingale() -> None:
    moves = returns(news_effect=0.0)
    t_statistics = moves.mean(axis=0) / (moves.std(axis=0) / np.sqrt(len(moves)))
    assert np.abs(t_statistics).max() < 3
    assert abs(autocorrelation(moves)) < 3 / np.sqrt(moves.size) + 0.02  # trades come late in a minute: a little leaks over


def test_volatility_clusters_in_the_full_market_and_not_in_the_random_walk() -> None:
    full, control = returns() ** 2, returns(random_walk=True) ** 2
    assert autocorrelation(full) > 0.08
    assert autocorrelation(full, 5) > 0.08
    assert abs(autocorrelation(control, 5)) < 3 / np.sqrt(control.size)


def test_only_the_full_market_has_fat_tails() -> None:
    def kurtosis(moves: NDArray[np.float64]) -> float:
        return float(np.mean((moves / moves.std(axis=0)) ** 4))

    assert kurtosis(returns()) > 6
    assert kurtosis(returns(random_walk=True)) < 4  # above 3 only by the uneven times of the last trades


def test_news_moves_prices_as_strongly_as_told_and_not_at_all_without_effect() -> None:
    slope, t_statistic = news_regression(Market(seed=2, news_effect=3.0), 10_000)
    assert 3.0 * 0.8 < slope < 3.0 * 1.1  # 92 % of it falls within the half-hour
    assert t_statistic > 10
    for market in (Market(seed=2, news_effect=0.0), Market(seed=2, news_effect=3.0, random_walk=True)):
        assert abs(news_regression(market, 10_000)[1]) < 3


def test_a_price_never_moves_before_its_news() -> None:
    strong, dull = (list(islice(minutes(Market(news_effect=effect)), 300)) for effect in (50.0, 0.0))
    first = next(index for index, minute in enumerate(strong) if any(item.tone for item in minute.news))
    assert [minute.news for minute in strong] == [minute.news for minute in dull]
    assert all(np.array_equal(a.close, b.close) for a, b in zip(strong[: first + 1], dull[: first + 1], strict=True))
    assert not np.allclose(strong[first + 1].close, dull[first + 1].close, rtol=0, atol=1e-6)


def test_prices_gap_between_sessions_but_not_in_the_random_walk() -> None:
    def gaps(market: Market) -> NDArray[np.float64]:
        path = list(islice(minutes(market), 2_000))
        _, base = market.characters()
        pairs = [(a, b) for a, b in pairwise(path) if a.ends_session]
        return np.array([(b.open - a.close) / base for a, b in pairs])

    assert 9 < gaps(Market(session_min=20, news_effect=0.0)).std() < 15
    assert np.abs(gaps(Market(session_min=20, random_walk=True))).max() == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Market(symbols=()),
        lambda: Market(symbols=("A", "A")),
        lambda: Market(rate=0.0),
        lambda: Market(rate=float("nan")),
        lambda: Market(seed=-1),
        lambda: Market(headlines_per_hour=-1.0),
        lambda: Market(news_effect=float("inf")),
        lambda: Market(break_min=0),
    ],
)
def test_an_impossible_market_is_refused(make: Callable[[], Market]) -> None:
    with pytest.raises(SettingsError, match="a simulated market needs"):
        make()


def test_the_bank_is_large_varied_and_without_holes() -> None:
    assert len(set(POSITIVE)) >= 25 and len(set(NEGATIVE)) >= 25 and len(set(NEUTRAL)) >= 15
    rng = np.random.default_rng(1)
    for tone in TONES:
        for about in ((symbol,) for symbol in (*COMPANIES, "ZZZ")):
            text = write(rng, tone, about)
            assert "{" not in text and (COMPANIES[about[0]].name if about[0] in COMPANIES else "ZZZ") in text
        pair = write(rng, tone, ("AAPL", "ZZZ"))
        assert "Apple" in pair and "ZZZ" in pair


def test_writing_a_bank_by_one_seed_gives_one_text() -> None:
    assert write(np.random.default_rng(9), 1, ("AAPL",)) == write(np.random.default_rng(9), 1, ("AAPL",))
