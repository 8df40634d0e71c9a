"""The scorer: list in, list out."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from consumers.scorer import ScoreHandler
from models.evaluation.significance import diebold_mariano, pesaran_timmermann
from streams import codec
from streams.bus import Outgoing, Record
from streams.clock import MINUTE_US
from streams.messages import DeadLetter, Event, Features, Forecast, Role, Score

DAY0 = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC, a minute's start
LEVELS = {"0.025": -2.0, "0.1": -1.3, "0.25": -0.7, "0.5": 0.0, "0.75": 0.7, "0.9": 1.3, "0.975": 2.0}


def minute(number: int) -> int:
    return DAY0 + number * MINUTE_US


def price(number: int) -> float:
    return 100 * math.exp(0.01 * math.sin(number * 1.7))


def forecast(number: int, horizon: int = 1, model: str = "lstm", *, provisional: bool = False, symbol: str = "AAPL") -> Forecast:
    """Return what `model` expects `horizon` minutes after the end of minute `number`."""
    last, role = price(number), "baseline" if model == "walk" else "champion"
    mean = last if model == "walk" else last * 1.001
    return Forecast(
        forecast_id=f"{symbol}:{number}:{horizon}:{model}:{provisional}",
        symbol=symbol,
        as_of_ts_us=minute(number + 1),
        horizon_min=horizon,
        target_ts_us=minute(number + 1 + horizon),
        last_price=last,
        mean=mean,
        quantiles={level: mean * math.exp(0.01 * deviation) for level, deviation in LEVELS.items()},
        prob_up=0.5,
        model_id=model,
        role=_role(role),
        provisional=provisional,
        features_hash="h",
    )


def _role(text: str) -> Role:
    return "baseline" if text == "baseline" else "champion"


def row(number: int, *, final: bool = True, close: float | None = None, revision: int = 1, symbol: str = "AAPL") -> Features:
    at = price(number) if close is None else close
    return Features(
        minute_ts_us=minute(number),
        symbol=symbol,
        open=at,
        high=at,
        low=at,
        close=at,
        volume=1,
        n_ticks=1,
        ma7=at,
        ma21=at,
        bars7=1,
        bars21=1,
        last_event_ts_us=minute(number),
        revision=revision,
        final=final,
        flat=False,
    )


def records(*messages: Forecast | Features | Score) -> list[Record]:
    names = {Forecast: "forecasts", Features: "features", Score: "scores"}
    return [Record(names[type(m)], 0, n, m.symbol.encode(), codec.encode(m), n) for n, m in enumerate(messages)]


def scores(answers: Sequence[Outgoing]) -> list[Score]:
    assert {answer.topic for answer in answers} <= {"scores"}
    return [codec.decode(Score, answer.value) for answer in answers]


def test_a_forecast_is_scored_when_its_target_minute_is_final() -> None:
    handler = ScoreHandler()
    assert handler.handle(records(forecast(0), row(1, final=False))) == []
    (score,) = scores(handler.handle(records(row(1))))
    expected, came, last = price(0) * 1.001, price(1), price(0)
    assert score.forecast_id == "AAPL:0:1:lstm:False"
    assert (score.as_of_ts_us, score.target_ts_us, score.realised_price) == (minute(1), minute(2), came)
    assert score.error == pytest.approx(math.log(expected / came))
    assert score.naive_error == pytest.approx(math.log(last / came))
    assert score.crps == 2 * score.pinball
    off = abs(math.log(came / expected)) / 0.01
    assert score.covered == {"50": off <= 0.7, "80": off <= 1.3, "95": off <= 2}
    assert score.rolling_skill == pytest.approx(1 - (score.error / score.naive_error) ** 2)
    assert score.rolling_n == 1


def test_either_may_come_first_and_the_score_is_the_same() -> None:
    before, after = ScoreHandler(), ScoreHandler()
    assert before.handle(records(forecast(0), row(1))) == after.handle(records(row(1), forecast(0)))


def test_the_key_is_the_symbol_and_symbols_do_not_mix() -> None:
    (answer,) = ScoreHandler().handle(records(forecast(0, symbol="MSFT"), row(1), row(1, symbol="MSFT", close=50)))
    assert answer.key == b"MSFT"
    assert codec.decode(Score, answer.value).realised_price == 50


def test_a_duplicate_changes_nothing() -> None:
    handler = ScoreHandler()
    first = handler.handle(records(forecast(0), forecast(0), row(1), forecast(0), row(1), forecast(0)))
    assert len(scores(first)) == 1
    assert handler.handle(records(forecast(0), row(1))) == []


def test_the_first_final_revision_counts() -> None:
    handler = ScoreHandler()
    answers = handler.handle(records(row(1, close=101, revision=1), row(1, close=102, revision=2), forecast(0)))
    assert [score.realised_price for score in scores(answers)] == [101]


def test_provisional_forecasts_are_not_scored() -> None:
    assert ScoreHandler().handle(records(forecast(0, provisional=True), row(1))) == []


def test_two_models_and_horizons_have_series_of_their_own() -> None:
    messages: list[Forecast | Features] = []
    for n in range(40):
        messages += [row(n), *(forecast(n, h, model) for h in (1, 5) for model in ("lstm", "walk"))]
    found: dict[tuple[int, str], list[Score]] = defaultdict(list)
    for score in scores(ScoreHandler().handle(records(*messages))):
        found[score.horizon_min, score.model_id].append(score)
    assert {series: len(members) for series, members in found.items()} == {
        (1, "lstm"): 39,
        (1, "walk"): 39,
        (5, "lstm"): 35,
        (5, "walk"): 35,
    }
    for members in found.values():
        assert [score.rolling_n for score in members] == list(range(1, len(members) + 1))
    last = found[1, "lstm"][-1]
    ratio = sum(s.error**2 for s in found[1, "lstm"]) / sum(s.naive_error**2 for s in found[1, "lstm"])
    assert last.rolling_skill == pytest.approx(1 - ratio)


def test_the_baseline_has_no_skill_by_construction() -> None:
    answers = ScoreHandler().handle(records(*(m for n in range(30) for m in (row(n), forecast(n, model="walk")))))
    assert {score.rolling_skill for score in scores(answers)} == {0.0}


def test_the_rolling_skill_forgets_what_is_older_than_its_window() -> None:
    answers = scores(ScoreHandler().handle(records(*(m for n in range(520) for m in (row(n), forecast(n))))))
    window = answers[-500:]
    ratio = sum(s.error**2 for s in window) / sum(s.naive_error**2 for s in window)
    assert answers[-1].rolling_n == 500
    assert answers[-1].rolling_skill == pytest.approx(1 - ratio)


def test_a_series_is_scored_in_the_order_of_its_forecasts() -> None:
    answers = ScoreHandler().handle(records(*(forecast(n) for n in range(5)), *(row(n) for n in (3, 2, 5, 1, 4))))
    assert [score.as_of_ts_us for score in scores(answers)] == [minute(n) for n in range(1, 6)]


def test_a_forecast_without_a_target_row_is_given_up_and_counted() -> None:
    handler = ScoreHandler()
    assert handler.handle(records(forecast(0), forecast(1), row(2))) == []
    assert handler.handle(records(row(121))) == []
    assert handler.unscorable == 0
    assert [score.as_of_ts_us for score in scores(handler.handle(records(row(122))))] == [minute(2)]
    assert handler.unscorable == 1


def test_forecasts_that_are_read_long_after_their_rows_are_scored() -> None:
    handler = ScoreHandler()
    assert handler.handle(records(*(row(n) for n in range(390)))) == []
    assert len(handler.handle(records(*(forecast(n) for n in range(389))))) == 389


@pytest.mark.parametrize("topic", ["forecasts", "features"])
@pytest.mark.parametrize("value", [None, b"", b"not json", b"{}", b"\xff", b'{"v":2}', b'{"provisional":true'])
def test_what_cannot_be_read_goes_to_the_dead_letters_whole(topic: str, value: bytes | None) -> None:
    bad = Record(topic, 1, 7, b"AAPL", value, 1_000)
    handler = ScoreHandler()
    first, second = handler.handle([*records(forecast(0)), bad, *records(row(1))])
    letter = codec.decode(DeadLetter, first.value)
    assert (first.topic, letter.topic, letter.partition, letter.offset, letter.stage) == ("dead_letters", topic, 1, 7, "score")
    assert second.topic == "scores"
    handler.restore(bad)


@pytest.mark.parametrize(
    "change",
    [
        {"quantiles": {"0.5": 100.0}},
        {"raw_quantiles": {"0.5": 100.0}},
        {"target_ts_us": minute(1)},
        {"target_ts_us": minute(2) + 1},
        {"mean": -1},
    ],
)
def test_a_forecast_that_cannot_be_scored_is_a_dead_letter(change: dict[str, object]) -> None:
    value = json.dumps(json.loads(codec.encode(forecast(0))) | change).encode()
    (answer,) = ScoreHandler().handle([Record("forecasts", 0, 0, b"AAPL", value, 0)])
    assert answer.topic == "dead_letters"


def history(seed: int) -> list[Forecast | Features]:
    """Return a past of both topics, each in its order, mixed as two topics are, some of it twice."""
    draw = random.Random(seed)  # noqa: S311 - the order of a test's input
    rows: list[Forecast | Features] = [*(row(n) for n in range(40) if n != 20), row(200)]  # one is missing
    expected: list[Forecast | Features] = [forecast(n, h, m) for n in range(40) for h in (1, 5) for m in ("lstm", "walk")]
    mixed = []
    while rows or expected:
        source = draw.choices((rows, expected), (len(rows), len(expected)))[0]
        mixed.append(source.pop(0))
        if draw.random() < 0.1:
            mixed.append(mixed[-1])
    return mixed


def by_series(answers: Sequence[Outgoing]) -> dict[tuple[int, str], list[Score]]:
    found: dict[tuple[int, str], list[Score]] = defaultdict(list)
    for score in scores(answers):
        found[score.horizon_min, score.model_id].append(score)
    return found


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1_000), cut=st.integers(0, 240), repeated=st.integers(0, 30))
def test_a_restart_anywhere_changes_no_score(seed: int, cut: int, repeated: int) -> None:
    past = records(*history(seed))
    whole = ScoreHandler().handle(past)
    sent = ScoreHandler().handle(past[:cut])
    committed = max(0, cut - repeated)  # what was handled behind it is handled again
    second = ScoreHandler()
    for record in [*past[:committed], *records(*scores(sent))]:
        second.restore(record)
    assert by_series([*sent, *second.handle(past[committed:])]) == by_series(whole)


def test_a_score_that_a_crash_repeated_counts_once() -> None:
    sent = scores(ScoreHandler().handle(records(forecast(0), row(1))))
    second = ScoreHandler()
    for record in records(forecast(0), row(1), *sent, *sent):
        second.restore(record)
    assert [score.rolling_n for score in scores(second.handle(records(forecast(1), row(2))))] == [2]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1_000), other=st.integers(0, 1_000))
def test_scores_do_not_depend_on_how_the_topics_were_mixed(seed: int, other: int) -> None:
    one, two = (by_series(ScoreHandler().handle(records(*history(s)))) for s in (seed, other))
    assert one == two


def test_nothing_is_left_after_forget() -> None:
    handler = ScoreHandler()
    handler.handle(records(forecast(0), row(1)))
    handler.forget()
    assert len(handler.handle(records(forecast(0), row(1)))) == 1


def market(seed: int, guess: float, n: int = 200) -> list[Forecast | Features]:
    """Return rows of a random walk, and forecasts that expect the share `guess` of each minute's coming move."""
    draw = random.Random(seed)  # noqa: S311 - a market, no secret
    closes = [100.0]
    for _ in range(n):
        closes.append(closes[-1] * math.exp(draw.gauss(0, 1e-3)))
    made: list[Forecast | Features] = [row(0, close=closes[0])]
    for at in range(n - 1):
        move = guess * math.log(closes[at + 1] / closes[at]) + draw.gauss(0, 5e-4)
        made += [
            replace(forecast(at), last_price=closes[at], mean=closes[at] * math.exp(move)),
            row(at + 1, close=closes[at + 1]),
        ]
    return made


@pytest.mark.parametrize(
    ("guess", "words", "edge"), [(0.5, "edge", True), (0.15, "no demonstrated edge", True), (-0.3, "worse than naive", False)]
)
def test_the_verdict_says_who_is_better(guess: float, words: str, edge: bool) -> None:
    answers = scores(ScoreHandler().handle(records(*market(1, guess))))
    assert [answer.dm_p_value is None for answer in answers] == [number < 19 for number in range(199)]
    last = answers[-1]
    assert last.dm_p_value is not None
    assert last.pt_p_value is not None
    assert last.verdict == words
    assert (last.dm_p_value < 0.05) == (words != "no demonstrated edge")
    assert (last.pt_p_value < 0.05) == edge


def test_the_p_values_are_those_of_the_last_500_scores() -> None:
    sent = ScoreHandler().handle(records(*market(2, 0.3, 1_200)))
    answers = scores([out for out in sent if out.topic == "scores"])
    window = answers[-500:]
    tested = diebold_mariano([one.error**2 for one in window], [one.naive_error**2 for one in window], 1)
    directions = pesaran_timmermann([one.error > one.naive_error for one in window], [one.naive_error < 0 for one in window])
    assert (answers[-1].dm_p_value, answers[-1].pt_p_value) == pytest.approx((tested.p_value, directions.p_value), rel=1e-5)


def test_the_raw_quantiles_are_scored_beside_the_calibrated_ones() -> None:
    narrow = replace(forecast(0), raw_quantiles={level: price(0) * math.exp(1e-6 * d) for level, d in LEVELS.items()})
    (score,) = scores(ScoreHandler().handle(records(narrow, row(1))))
    assert score.covered == scores(ScoreHandler().handle(records(forecast(0), row(1))))[0].covered
    assert score.raw_covered == {"50": False, "80": False, "95": False}


def drifting() -> list[Record]:
    """Return minutes of a market, and forecasts whose intervals hold it for the first half only."""
    calm, wild = ([replace(forecast(n), quantiles=quantiles(n, width)) for n in range(400)] for width in (1.0, 1e-4))
    return records(*(m for n in range(400) for m in (row(n), (calm if n < 200 else wild)[n])))


def quantiles(number: int, width: float) -> dict[str, float]:
    return {level: price(number) * math.exp(0.03 * width * deviation) for level, deviation in LEVELS.items()}


def drifts(sent: Sequence[Outgoing]) -> list[Event]:
    return [codec.decode(Event, out.value) for out in sent if out.topic == "events"]


def test_drift_is_told_on_events_counted_and_the_same_again() -> None:
    handler = ScoreHandler()
    sent = handler.handle(drifting())
    told = drifts(sent)
    assert handler.describe() == f"{len(told)} drifts seen"
    (coverage,) = [event for event in told if event.detail.startswith("AAPL: coverage of lstm went from")]
    assert (coverage.kind, coverage.role) == ("drift", "score")
    assert minute(200) < coverage.counts["event_ts_us"] < minute(260)
    assert ScoreHandler().handle(drifting()) == sent


def test_what_drifted_before_a_restart_is_not_told_again() -> None:
    past = drifting()
    sent = ScoreHandler().handle(past)
    second = ScoreHandler()
    for record in [*past, *records(*scores([out for out in sent if out.topic == "scores"]))]:
        second.restore(record)
    assert second.handle(past) == []
