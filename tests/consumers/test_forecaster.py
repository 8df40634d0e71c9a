"""The handler: feature records in, forecasts out."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest

from consumers.forecaster import COMPANY_S, FLEETING_S, PROVISIONAL_PER_S, ROUND, ForecastHandler, make_follower, make_handler
from models import registry
from models.forecaster.base import HORIZONS_MIN, Forecaster, Predictions
from models.forecaster.onnx_model import OnnxForecaster
from models.forecaster.random_walk import RandomWalk
from models.forecaster.windows import Windows
from streams import bus, codec, settings
from streams.bus import INGEST_HEADER, Outgoing, Record
from streams.clock import MINUTE_US
from streams.messages import DeadLetter, Features, Forecast
from streams.settings import Settings
from tests.models.forecaster.samples import rows, stored_onnx

CHAMPION = "lstm-"


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> OnnxForecaster:
    home = tmp_path_factory.mktemp("store")
    own = msgspec.structs.replace(settings.load({}), home=home)
    return OnnxForecaster(stored_onnx(own, home / "made"))


def handler(champion: Forecaster | None = None, clock: Callable[[], float] | None = None) -> ForecastHandler:
    """Return a handler; by default a second passes whenever it looks at the clock."""
    return ForecastHandler(lambda _at: champion, clock or count(1.0).__next__)


def records(some: Iterable[Features | bytes]) -> list[Record]:
    return [
        Record("features", 0, at, b"AAPL", row if isinstance(row, bytes) else codec.encode(row), 7, ((INGEST_HEADER, b"5"),))
        for at, row in enumerate(some)
    ]


def forecasts(sent: Iterable[Outgoing]) -> list[Forecast]:
    return [codec.decode(Forecast, out.value) for out in sent if out.topic == "forecasts"]


def draft(row: Features, revision: int, close: float = 101.0) -> Features:
    return msgspec.structs.replace(row, final=False, revision=revision, close=close, high=max(close, row.high))


def test_each_final_row_gets_one_forecast_per_horizon_and_model(champion: OnnxForecaster) -> None:
    market = [row for minute in zip(rows(60), rows(60, "MSFT", seed=2), strict=True) for row in minute]
    sent = handler(champion).handle(records(market))
    made = forecasts(sent)
    assert len({one.forecast_id for one in made}) == len(made)
    assert {out.topic for out in sent} == {"forecasts", "calibration"}
    counts = Counter((one.symbol, one.role, one.horizon_min) for one in made)
    for symbol in ("AAPL", "MSFT"):
        for horizon_min in HORIZONS_MIN:
            assert counts[symbol, "baseline", horizon_min] == 60
            assert counts[symbol, "champion", horizon_min] == 11  # the 50th minute and after
    assert not any(one.provisional for one in made)
    assert {(one.data_cutoff_ts_us, one.model_id) for one in made if one.role == "champion"} == {(123, champion.model_id)}


def test_the_headers_carry_the_times_of_ingest_and_of_the_features() -> None:
    (first, *_) = handler().handle(records(rows(1)))
    assert list(first.headers) == [(INGEST_HEADER, b"5"), ("featured_ts_us", b"7000")]
    assert first.key == b"AAPL"


def test_batches_do_not_matter_for_final_rows(champion: OnnxForecaster) -> None:
    whole, pieces = handler(champion), handler(champion)
    all_records = records(rows(70))
    at_once, one_by_one = whole.handle(all_records), [out for record in all_records for out in pieces.handle([record])]
    assert on(at_once, "forecasts") == on(one_by_one, "forecasts")
    assert newest_states(at_once) == newest_states(one_by_one)


def market_with_a_gap() -> list[Record]:
    """Return seventy minutes less one."""
    market = rows(70)
    del market[20]
    return records(market)


@pytest.mark.parametrize("seed", range(25))
def test_a_kill_at_any_point_changes_nothing(champion: OnnxForecaster, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    market = market_with_a_gap()
    expected = handler(champion).handle(market)
    before, after = handler(champion), handler(champion)
    ends = sorted({*chance.choices(range(1, 69), k=4), 69})
    last = chance.randrange(len(ends))  # the batch in which it is killed
    delivered: list[Outgoing] = []
    for start, end in list(zip([0, *ends], ends, strict=False))[: last + 1]:
        answer = before.handle(market[start:end])
        delivered += answer if end < ends[last] else torn(answer, chance)
    committed = chance.choice([0, *ends][: last + 1])  # commits come after acknowledgements, sometimes long after
    for record in [*market[:committed], *stored(delivered)]:
        after.restore(record)
    delivered += after.handle(market[committed:])
    ids = [one.forecast_id for one in forecasts(delivered)]
    assert len(ids) == len(set(ids))
    assert sorted(on(delivered, "forecasts")) == sorted(on(expected, "forecasts"))
    assert newest_states(delivered) == newest_states(expected)


def torn(answer: list[Outgoing], chance: random.Random) -> list[Outgoing]:
    """Return what may have reached the broker: some of the forecasts, or all of them and some of the states."""
    made, states = on(answer, "forecasts"), on(answer, "calibration")
    count = chance.randint(0, len(made) + len(states))
    if count < len(made):
        return chance.sample(made, count)
    return made + chance.sample(states, count - len(made))


def on(sent: Iterable[Outgoing], topic: str) -> list[Outgoing]:
    return [out for out in sent if out.topic == topic]


def newest_states(sent: Iterable[Outgoing]) -> dict[bytes, bytes]:
    return {out.key: out.value for out in on(sent, "calibration")}


def stored(sent: Iterable[Outgoing]) -> list[Record]:
    return [Record(out.topic, 0, at, out.key, out.value, 7, out.headers) for at, out in enumerate(sent)]


def test_a_handler_that_forgot_and_restored_is_as_new(champion: OnnxForecaster) -> None:
    all_records = records(rows(60))
    used = handler(champion)
    expected = used.handle(all_records)
    used.forget()
    assert used.handle(all_records) == expected


def test_a_late_revision_changes_later_windows_but_is_not_forecast_again() -> None:
    market = rows(30)
    revised = msgspec.structs.replace(market[20], revision=11, close=market[20].close * 1.01, high=market[20].high * 1.02)
    plain, late = handler(), handler()
    plain.handle(records(market[:29]))
    late.handle(records(market[:29]))
    assert late.handle(records([revised, market[20]])) == []
    (expected, *_), (found, *_) = (forecasts(one.handle(records([market[29]]))) for one in (plain, late))
    assert found.forecast_id == expected.forecast_id
    assert found.quantiles != expected.quantiles


def test_a_window_never_spans_a_gap(champion: OnnxForecaster) -> None:
    first = rows(60)
    shift = 90 * 60 * MINUTE_US
    second = [msgspec.structs.replace(row, minute_ts_us=row.minute_ts_us + shift) for row in rows(60)]
    roles = Counter((one.as_of_ts_us, one.role) for one in forecasts(handler(champion).handle(records(first + second))))
    assert sum(count for (_, role), count in roles.items() if role == "baseline") == 120 * 3
    assert sum(count for (_, role), count in roles.items() if role == "champion") == 2 * 11 * 3
    alone = forecasts(handler(champion).handle(records(second)))
    again = handler(champion)
    again.handle(records(first))
    together = forecasts(again.handle(records(second)))
    assert [(one.features_hash, one.raw_quantiles) for one in together] == [
        (one.features_hash, one.raw_quantiles) for one in alone
    ]


def test_a_short_gap_holds_nothing_back() -> None:
    market = rows(30)
    after = [
        msgspec.structs.replace(row, minute_ts_us=row.minute_ts_us + 3 * MINUTE_US, bars21=min(21, 15 + at))
        for at, row in enumerate(market[15:], start=1)
    ]
    for at, row in enumerate(after):  # in the last 21 minutes three had no bar, until they have gone by
        after[at] = msgspec.structs.replace(row, bars21=min(21, 16 + at) - (3 if at + 16 + 3 > 21 else 0) if at < 20 else 21)
    one = handler()
    one.handle(records(market[:15]))
    released = [len(forecasts(one.handle([record]))) for record in records(after)]
    assert released == [3] * 15


def test_a_start_in_the_middle_waits_for_nobody(champion: OnnxForecaster) -> None:
    market = rows(90)[30:]
    one = handler(champion)
    assert [len(forecasts(one.handle([record]))) for record in records(market)] == [3] * 49 + [6] * 11


def test_a_row_that_never_comes_delays_no_other() -> None:
    market = rows(40)
    del market[25]
    one = handler()
    assert [len(forecasts(one.handle([record]))) for record in records(market)] == [3] * 39


def test_the_row_behind_a_night_is_forecast_at_once_and_so_is_one_that_came_late() -> None:
    market = rows(3)
    night = msgspec.structs.replace(market[2], minute_ts_us=market[2].minute_ts_us + 60 * MINUTE_US)
    one = handler()
    assert [len(forecasts(one.handle([record]))) for record in records([market[0], night, market[1]])] == [3] * 3


def test_provisional_forecasts_are_made_of_the_newest_row_only(champion: OnnxForecaster) -> None:
    market, other = rows(51), rows(21, "MSFT", seed=2)
    one = handler(champion)
    one.handle(records(market[:50] + other[:20]))
    drafts = [draft(market[50], revision) for revision in (1, 2, 3)]
    made = forecasts(one.handle(records([*drafts, draft(other[20], 1), drafts[0]])))
    assert [(item.symbol, item.role) for item in made] == [("AAPL", "champion")] * 3 + [("MSFT", "baseline")] * 3
    assert {item.forecast_id.rsplit(":", 1)[1] for item in made if item.symbol == "AAPL"} == {"p3"}
    assert all(item.provisional and item.last_price == 101.0 for item in made)


def test_a_draft_that_its_final_row_has_overtaken_is_not_forecast() -> None:
    market = rows(5)
    one = handler()
    made = forecasts(one.handle(records([*market[:4], draft(market[4], 1), market[4]])))
    assert not any(item.provisional for item in made)
    assert one.handle(records([draft(market[4], 2), draft(market[2], 20)])) == []


def test_provisional_forecasts_keep_their_pace_and_final_ones_do_not_wait() -> None:
    now_s = 0.0
    one = handler(clock=lambda: now_s)
    (first,) = rows(1)
    symbols = [f"S{number:03d}" for number in range(2 * ROUND)]

    def drafts(revision: int, some: Sequence[str]) -> list[Record]:
        return records(msgspec.structs.replace(draft(first, revision), symbol=symbol) for symbol in some)

    def due_s() -> float | None:
        return one.due_s

    def made_of(sent: Iterable[Outgoing]) -> set[str]:
        return {item.symbol for item in forecasts(sent)}

    assert due_s() is None
    assert made_of(one.handle(drafts(1, symbols))) == set(symbols[:ROUND])
    assert due_s() == pytest.approx(ROUND / PROVISIONAL_PER_S)
    assert one.handle([]) == one.handle(drafts(2, symbols[:1] + symbols[ROUND:])) == []
    final = msgspec.structs.replace(first, symbol=symbols[-1])
    assert {(item.symbol, item.provisional) for item in forecasts(one.handle(records([final])))} == {(symbols[-1], False)}
    now_s = ROUND / PROVISIONAL_PER_S
    assert due_s() == 0
    made = forecasts(one.handle([]))
    assert {item.symbol for item in made} == set(symbols[ROUND:-1]), "the longest waiting first, and its final row is there"
    assert all(item.forecast_id.endswith(":p2") for item in made)
    now_s *= 2
    assert made_of(one.handle([])) == {symbols[0]}
    assert due_s() is None


def test_of_a_minute_that_flies_past_there_is_no_provisional_forecast_until_one_lasts() -> None:
    now_s = 0.0
    one = handler(clock=lambda: now_s)
    market = rows(4)

    def made_of(minute: int) -> list[Forecast]:
        return forecasts(one.handle(records([draft(market[minute], 1)])))

    assert made_of(0)
    now_s += 60.0
    assert made_of(1)
    now_s += FLEETING_S / 2
    assert made_of(2) == []
    assert one.due_s == pytest.approx(FLEETING_S)
    now_s += FLEETING_S / 2
    assert made_of(3) == []
    now_s += FLEETING_S
    assert {item.as_of_ts_us for item in forecasts(one.handle([]))} == {market[3].minute_ts_us + MINUTE_US}


def test_without_finals_the_drafts_fill_provisional_windows_and_no_final_one(champion: OnnxForecaster) -> None:
    market = rows(60)
    one = handler(champion)
    one.handle(records(market[:50]))
    for row in market[50:59]:
        made = forecasts(one.handle(records([draft(row, 5, row.close)])))
        assert [item.role for item in made] == ["champion"] * 3
    finals = forecasts(one.handle(records(market[50:])))
    expected = forecasts(handler(champion).handle(records(market)))
    assert finals == expected[-len(finals) :]


def test_unreadable_records_become_dead_letters_and_the_others_go_on() -> None:
    good = rows(3)
    nan = codec.encode(good[1]).replace(b'"volume":', b'"volume":NaN,"other":')
    negative = codec.encode(msgspec.structs.replace(good[1], close=-1.0))
    one = handler()
    sent = one.handle(records([good[0], b"\xff", b"{}", nan, negative, good[1], good[2]]))
    letters = [codec.decode(DeadLetter, out.value) for out in sent if out.topic == "dead_letters"]
    assert [(letter.offset, letter.stage) for letter in letters] == [(at, "forecast") for at in range(1, 5)]
    assert len(forecasts(sent)) == 9
    one.restore(records([b"\xff"])[0])


def test_the_announced_model_is_served_at_once(config: Settings, tmp_path: Path) -> None:
    stored = stored_onnx(config, tmp_path / "made")
    client = bus.producer(config)
    registry.announce(config, stored.announcement(promoted=True, reason="test"), client)
    client.close()
    follower = make_follower()
    made = forecasts(make_handler(config, follower).handle(records(rows(50))))
    follower.stop()
    assert [one.model_id for one in made if one.role == "champion"] == [stored.card.model_id] * 3


def test_a_challenger_forecasts_final_rows_beside_the_champion_and_as_champion_once_only(champion: OnnxForecaster) -> None:
    def roles(made: ForecastHandler) -> list[tuple[str, str, bool]]:
        drafted = draft(rows(52)[51], 1)
        sent = forecasts(made.handle(records([*rows(51)[49:], drafted])))
        return sorted({(one.role, one.model_id, one.provisional) for one in sent})

    def after_a_window(challenger: Forecaster) -> ForecastHandler:
        made = ForecastHandler(lambda _at: champion, count(1.0).__next__, lambda: challenger)
        made.handle(records(rows(49)))
        return made

    other = Broken(lambda answer: answer)
    finals = [("baseline", RandomWalk().model_id, False), ("champion", champion.model_id, False)]
    draft_too = ("champion", champion.model_id, True)
    assert roles(after_a_window(other)) == sorted([*finals, ("challenger", "broken-1", False), draft_too])
    assert roles(after_a_window(champion)) == sorted([*finals, draft_too])


def test_a_new_champion_forecasts_from_its_minute_on_whatever_the_batch(champion: OnnxForecaster) -> None:
    told = rows(54)
    other = Broken(lambda answer: answer)
    from_us = told[51].minute_ts_us + MINUTE_US

    def served(parts: Sequence[slice]) -> list[tuple[int, str]]:
        made = ForecastHandler(lambda at: champion if at < from_us else other, count(1.0).__next__)
        sent = [out for part in parts for out in made.handle(records(told)[part])]
        finals = [one for one in forecasts(sent) if one.role == "champion" and one.horizon_min == 1]
        return [(one.as_of_ts_us, one.model_id) for one in finals]

    whole = served([slice(None)])
    assert [model_id for _, model_id in whole[-5:]] == [champion.model_id] * 2 + ["broken-1"] * 3
    assert served([slice(0, 50), slice(50, 53), slice(53, None)]) == whole


class Broken:
    """A model that answers what it is told to, or raises."""

    model_id = "broken-1"
    minimum_bars = 5
    data_cutoff_ts_us = 0

    def __init__(self, answer: Callable[[Predictions], Predictions]) -> None:
        self._answer = answer

    def forecast(self, windows: Windows) -> Predictions:
        return self._answer(RandomWalk().forecast(windows))


def raising(_: Predictions) -> Predictions:
    raise RuntimeError("INVALID_ARGUMENT: unexpected shape")


BROKEN: dict[str, Callable[[Predictions], Predictions]] = {
    "raises": raising,
    "mean is NaN": lambda good: replace(good, mean=good.mean * np.nan),
    "a quantile is infinite": lambda good: replace(
        good, quantiles=np.concatenate([good.quantiles[..., :6], [[[np.inf]] * 3]], 2)
    ),
    "quantiles out of order": lambda good: replace(good, quantiles=-good.quantiles),
    "no probability": lambda good: replace(good, prob_up=good.prob_up * np.nan),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_model_that_cannot_answer_makes_no_forecast_and_the_baseline_goes_on(how: str) -> None:
    sent = handler(Broken(BROKEN[how])).handle(records(rows(20)))
    assert {one.role for one in forecasts(sent)} == {"baseline"}
    assert len(forecasts(sent)) == 20 * 3
    letters = [codec.decode(DeadLetter, out.value) for out in on(sent, "dead_letters")]
    assert [letter.offset for letter in letters] == list(range(4, 20)), "its window was full from the fifth row on"
    assert all("broken-1" in letter.message and letter.error_class == "ModelError" for letter in letters)


def test_one_bad_answer_of_a_batch_spoils_no_other() -> None:
    def first_is_nan(good: Predictions) -> Predictions:
        good.mean[0] = np.nan
        return good

    market, other = rows(6), rows(6, "MSFT", seed=2)
    one = handler(Broken(first_is_nan))
    one.handle(records(market[:5] + other[:5]))
    made = forecasts(one.handle(records([draft(market[5], 1), draft(other[5], 1)])))
    assert Counter((item.symbol, item.role) for item in made) == {("AAPL", "baseline"): 3, ("MSFT", "champion"): 3}


def test_forecasts_of_every_model_are_calibrated_by_their_own_past(champion: OnnxForecaster) -> None:
    made = forecasts(handler(champion).handle(records(rows(200, scale=5e-3))))
    for role in ("baseline", "champion"):
        newest = [one for one in made if one.role == role][-3:]
        assert all(one.raw_quantiles.keys() == one.quantiles.keys() for one in newest)
        assert all(one.raw_quantiles != one.quantiles for one in newest)
        assert all(sorted(one.quantiles.values()) == list(one.quantiles.values()) for one in newest)


def test_provisional_forecasts_use_what_was_learned_and_teach_nothing(champion: OnnxForecaster) -> None:
    market = rows(120)
    plain, drafted = handler(champion), handler(champion)
    plain.handle(records(market[:119]))
    drafted.handle(records(market[:119]))
    provisional = forecasts(drafted.handle(records([draft(market[119], 1, market[119].close)])))
    assert all(one.raw_quantiles == {} for one in provisional)
    final = forecasts(plain.handle(records([market[119]])))
    assert forecasts(drafted.handle(records([market[119]]))) == final
    widths = [math.log(one.quantiles["0.9"] / one.quantiles["0.1"]) for one in (provisional[0], final[0])]
    assert widths[0] == pytest.approx(widths[1], rel=0.2)


def test_a_batch_waits_for_company_only_while_provisional_forecasts_rest() -> None:
    now_s = 0.0
    one = handler(clock=lambda: now_s)
    (first,) = rows(1)

    def company_s() -> float:
        return one.company_s

    assert company_s() == 0
    one.handle(records([msgspec.structs.replace(draft(first, 1), symbol=f"S{number:03d}") for number in range(ROUND)]))
    assert company_s() == COMPANY_S
    now_s = ROUND / PROVISIONAL_PER_S - COMPANY_S / 2
    assert company_s() == pytest.approx(COMPANY_S / 2)
    now_s += COMPANY_S
    assert company_s() == 0
