"""The views: records in, page out."""

from __future__ import annotations

import msgspec
import pytest

from consumers.console import health, market, news
from consumers.console.views import Page, Views
from streams import codec
from streams.bus import Record
from streams.clock import MINUTE_US, SECOND_US
from streams.messages import DeadLetter, Event
from tests.consumers.console.samples import START_US, bar, forecast, headline, received, score, sentiment, status

NOW_US = 1_800_000_000_000_000


def fed(*records: Record) -> Views:
    views = Views()
    views.apply(records)
    return views


def updated(views: Views) -> Page:
    page = views.changes(NOW_US)
    assert page is not None
    return page


def test_the_highest_revision_of_a_minute_is_shown() -> None:
    views = fed(*(received(bar(0, close, revision=revision)) for close, revision in [(581.0, 2), (582.0, 3), (580.0, 1)]))
    assert [(shown.close, shown.revision) for shown in views.bars("AAPL") or []] == [(582.0, 3)]
    [row] = views.snapshot(NOW_US).symbols
    assert (row.price, row.price_ts_us) == (582.0, START_US + 59 * SECOND_US)


def test_a_late_revision_of_an_older_minute_leaves_the_price_alone() -> None:
    views = fed(received(bar(0, 581.0)), received(bar(1, 582.0)), received(bar(0, 590.0, revision=10)))
    assert [shown.close for shown in views.bars("AAPL") or []] == [590.0, 582.0]
    assert views.snapshot(NOW_US).symbols[0].price == 582.0


def test_bars_are_bounded_and_the_oldest_go() -> None:
    views = fed(*(received(bar(minute)) for minute in range(market.MAX_BARS + 50)))
    minutes = [shown.minute_ts_us for shown in views.bars("AAPL") or []]
    assert len(minutes) == market.MAX_BARS
    assert minutes[0] == START_US + 50 * MINUTE_US


def test_change_and_sparkline_are_over_thirty_bars() -> None:
    views = fed(*(received(bar(minute, 100.0 + minute)) for minute in range(40)))
    [row] = views.snapshot(NOW_US).symbols
    assert row.spark == [100.0 + minute for minute in range(10, 40)]
    assert row.change == pytest.approx(139 / 110 - 1)


def test_another_tape_starts_again() -> None:
    views = fed(*(received(bar(minute)) for minute in range(200, 210)), received(forecast(209)))
    updated(views)
    views.apply([received(bar(0)), received(forecast(0))])
    [row] = updated(views).symbols
    assert row.reset
    assert [shown.minute_ts_us for shown in views.bars("AAPL") or []] == [START_US]
    assert row.forecasts == [forecast(0)]


def test_only_the_newest_forecast_of_each_kind_is_kept() -> None:
    kept = [forecast(3), forecast(4, provisional=True), forecast(3, role="baseline", model_id="rw"), forecast(3, 15)]
    views = fed(*(received(made) for made in [forecast(2), *kept, forecast(1)]))
    [row] = views.snapshot(NOW_US).symbols
    assert sorted(made.forecast_id for made in row.forecasts) == sorted(made.forecast_id for made in kept)


def test_coverage_counts_a_repeated_score_once() -> None:
    scores = [score(0), score(1, held=False), score(2), score(2)]
    [row] = fed(*(received(matured) for matured in scores)).snapshot(NOW_US).symbols
    [skill] = row.skills
    assert skill.covered == {"50": (2, 3), "80": (2, 3), "95": (3, 3)}
    assert (skill.rolling_skill, skill.rolling_n, skill.model_id) == (0.003, 240, "lstm-1")


def test_an_update_holds_only_what_changed() -> None:
    views = fed(received(bar(0)), received(bar(1)), received(forecast(1)))
    assert len(updated(views).symbols[0].bars) == 2
    assert views.changes(NOW_US) is None
    views.apply([received(bar(1, revision=10))])
    [row] = updated(views).symbols
    assert [shown.minute_ts_us for shown in row.bars] == [START_US + MINUTE_US]
    assert row.forecasts == []


@pytest.mark.parametrize("score_first", [False, True])
def test_a_headline_meets_its_score_in_either_order(score_first: bool) -> None:
    records = [received(headline(1)), received(sentiment(1, -0.4))]
    views = fed(*(reversed(records) if score_first else records))
    [row] = views.snapshot(NOW_US).headlines
    assert (row.text, [(scored.symbol, scored.score) for scored in row.scores]) == (headline(1).text, [("AAPL", -0.4)])


def test_closings_are_no_headlines() -> None:
    closing = msgspec.structs.replace(headline(1), closes=True, text="", partitions=2)
    forwarded = msgspec.structs.replace(sentiment(2), closes=True, partitions=2)
    assert fed(received(closing), received(forwarded), received(headline(2))).snapshot(NOW_US).headlines[0].scores == []


def test_headlines_are_bounded() -> None:
    views = fed(*(received(headline(number)) for number in range(news.MAX_HEADLINES + 5)))
    shown = views.snapshot(NOW_US).headlines
    assert (len(shown), shown[0].id) == (news.MAX_HEADLINES, "h5")


def test_a_role_that_said_nothing_for_ten_seconds_is_silent_unless_it_is_done() -> None:
    long_ago = NOW_US - health.SILENT_US - 1
    views = fed(
        received(status("stream", wall_us=long_ago)),
        received(status("train", "done", wall_us=long_ago)),
        received(status("score", wall_us=NOW_US, pid=7, scored=3)),
    )
    assert [(role.role, role.silent) for role in views.health(NOW_US).roles] == [
        ("score", False),
        ("stream", True),
        ("train", False),
    ]
    assert views.health(NOW_US).roles[0].counts == {"scored": 3}


@pytest.mark.parametrize(
    ("detail", "mode"), [("simulated:seed=7", "SIMULATED"), ("replay:tape at 60x", "REPLAY"), ("yfinance", "LIVE")]
)
def test_the_mode_is_the_producers_word(detail: str, mode: str) -> None:
    page = fed(received(status("produce", detail=detail))).snapshot(NOW_US)
    assert (page.mode, page.source) == (mode, detail)


def test_no_source_no_mode() -> None:
    assert fed(received(status("stream", detail="real time"))).snapshot(NOW_US).mode == ""


def test_latency_is_from_the_ticks_arrival_to_the_records() -> None:
    now_ms = NOW_US // 1_000
    records = [received(bar(0), now_ms, NOW_US - latency_ms * 1_000) for latency_ms in range(1, 102)]
    shown = fed(*records, received(forecast(0), now_ms, NOW_US - 20_000)).health(NOW_US)
    assert shown.tick_to_feature == health.Percentiles(51.0, 100.0, 101)
    assert shown.tick_to_forecast == health.Percentiles(20.0, 20.0, 1)


def test_old_samples_are_not_todays_latency() -> None:
    views = fed(received(bar(0), NOW_US // 1_000, NOW_US))
    assert views.health(NOW_US + health.LATENCY_US + SECOND_US).tick_to_feature is None
    assert views.health(NOW_US + health.LATENCY_US + SECOND_US).ticks_per_s == 0.0


def test_the_rate_counts_each_tick_once() -> None:
    now_ms = NOW_US // 1_000
    views = fed(*(received(bar(0, revision=n, n_ticks=n), now_ms) for n in [1, 2, 2, 30, 50]))
    assert views.health(NOW_US).ticks_per_s == 5.0


def test_dead_letters_are_counted_once_each_and_the_last_few_kept() -> None:
    def letter(offset: int) -> Record:
        message = DeadLetter(
            topic="ticks", partition=0, offset=offset, stage="stream", error_class="not_json", message="x", value_base64=""
        )
        return Record("dead_letters", 0, offset, None, codec.encode(message), 0)

    shown = fed(*(letter(offset) for offset in range(30)), letter(29)).health(NOW_US)
    assert (shown.dead_letters, len(shown.letters), shown.letters[-1].offset) == (30, health.MAX_LETTERS, 29)


def test_what_breaks_the_contract_is_counted_and_skipped() -> None:
    bad = [Record(topic, 0, 0, None, b"{nonsense", 0) for topic in ("features", "forecasts", "scores", "events")]
    negative = received(bar(1))._replace(value=codec.encode(bar(1)).replace(b'"volume":', b'"volume":-'))
    views = fed(*bad, negative, received(bar(0)), Record("headlines", 0, 0, None, None, 0))
    assert views.malformed == 6
    assert len(views.bars("AAPL") or []) == 1


def test_there_is_room_for_so_many_symbols_and_the_rest_is_counted() -> None:
    views = fed(*(received(bar(0, symbol=f"S{number}")) for number in range(market.MAX_SYMBOLS + 3)))
    assert len(views.snapshot(NOW_US).symbols) == market.MAX_SYMBOLS
    assert views.health(NOW_US).symbols_left_out == 3
    assert views.bars("S1002") is None


def test_alerts_are_kept() -> None:
    alert = Event(kind="alert", role="stream", wall_ts_us=NOW_US, detail="state was evicted")
    assert fed(received(alert)).health(NOW_US).alerts == [alert]


def test_health_comes_once_a_second() -> None:
    views = fed(received(bar(0)))
    assert updated(views).health is not None
    views.apply([received(bar(1))])
    again = views.changes(NOW_US + SECOND_US // 5)
    assert again is not None
    assert again.health is None
    assert updated_at(views, NOW_US + SECOND_US).health is not None


def updated_at(views: Views, now_us: int) -> Page:
    page = views.changes(now_us)
    assert page is not None
    return page
