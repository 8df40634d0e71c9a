"""What `tickcast verify retrain` replays, and what it makes of the topics; the run itself takes 20 minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.verify import retrained
from deploy.verify.markets import START_US
from deploy.verify.regimes import Change, write_tape
from deploy.verify.retrained import FULL, Seen, judged
from models.forecaster.base import HORIZONS_MIN
from producers.base import Story, Trade
from producers.replay import Replay
from streams import bus, codec
from streams.bus import Record
from streams.clock import MINUTE_US
from streams.messages import Event, Features, Forecast, Message, ModelAnnouncement, Score

SMALL = Change(turn_min=40, total_min=80, symbols=("AAPL", "MSFT"))
PLAN = replace(FULL, change=replace(SMALL, turn_min=200, total_min=400))
SWAP_MIN = 300
SECOND_MS = 1_000
OLD, NEW = "lstm-old", "lstm-new"


def test_prices_go_on_where_the_market_changes_and_then_move_more() -> None:
    trades = [event for event in SMALL.events() if isinstance(event, Trade)]
    calm = [event for event in replace(SMALL, wilder=1.0).events() if isinstance(event, Trade)]
    at = next(n for n, trade in enumerate(trades) if trade.event_ts_us >= SMALL.turn_us)
    assert trades[:at] == calm[:at]
    for symbol in SMALL.symbols:
        before, after = ([t.price for t in part if t.symbol == symbol] for part in (trades[:at], trades[at:]))
        assert after[0] == pytest.approx(before[-1], rel=1e-4)
        moved = after[-1] / after[0] - 1
        usual = [t.price for t in calm[at:] if t.symbol == symbol]
        assert moved == pytest.approx(3.0 * (usual[-1] / usual[0] - 1), rel=0.05, abs=1e-3)


def test_the_tape_is_what_happened(tmp_path: Path) -> None:
    write_tape(SMALL.events(), tmp_path)
    told = [event for event in SMALL.events() if isinstance(event, Trade | Story)]
    read = [event for event in Replay.of_folder(tmp_path).events() if isinstance(event, Trade | Story)]
    assert [(event.event_ts_us, type(event)) for event in read] == [(event.event_ts_us, type(event)) for event in told]


def record(topic: str, key: str, message: Message, wall_ms: int, ingest_ms: int = 0) -> Record:
    headers = [(bus.INGEST_HEADER, str(ingest_ms * 1_000).encode())] if ingest_ms else []
    return Record(topic, 0, 0, key.encode(), codec.encode(message), timestamp_ms=wall_ms, headers=headers)


def final_row(minute: int) -> Features:
    bar = dict.fromkeys(("open", "high", "low", "close", "volume", "ma7", "ma21"), 100.0)
    counts = {"n_ticks": 1, "bars7": 7, "bars21": 21, "sent_n": 0, "revision": 1, "last_event_ts_us": minute}
    flags = {"final": True, "flat": False, "sentiment_complete": True}
    return Features(minute_ts_us=minute, symbol="AAPL", ret=0.0, sent_mean=None, **bar, **counts, **flags)  # type: ignore[arg-type]


def forecasts(minute: int, role: Any, model_id: str, wall_ms: int) -> list[Record]:
    told = []
    for horizon in HORIZONS_MIN:
        end = minute + MINUTE_US
        message = Forecast(
            forecast_id=f"{minute}-{horizon}-{model_id}",
            symbol="AAPL",
            as_of_ts_us=end,
            horizon_min=horizon,
            target_ts_us=end + horizon * MINUTE_US,
            last_price=100.0,
            mean=100.0,
            quantiles={},
            prob_up=0.5,
            model_id=model_id,
            role=role,
            provisional=False,
            features_hash="0",
        )
        told.append(record("forecasts", "AAPL", message, wall_ms + 5, wall_ms))
    return told


def score(minute: int, role: Any, model_id: str, pinball: float) -> Score:
    return Score(
        forecast_id=f"{minute}-5-{model_id}",
        symbol="AAPL",
        model_id=model_id,
        role=role,
        horizon_min=5,
        as_of_ts_us=minute + MINUTE_US,
        target_ts_us=minute + 6 * MINUTE_US,
        realised_price=100.0,
        error=0.0,
        naive_error=0.0,
        pinball=pinball,
        crps=2 * pinball,
        covered={},
    )


def announcement(model_id: str) -> ModelAnnouncement:
    return ModelAnnouncement(name="forecaster", model_id=model_id, uri="file:///m", sha256="0" * 64, promoted=True, reason="why")


def status(state: Any, wall_ms: int) -> Record:
    return record("events", "status", Event(kind="status", role="train", wall_ts_us=0, state=state), wall_ms)


def a_good_run() -> list[Record]:
    """Return a run at a minute a second: change at 200, drift at 220, training 240 to 290, swap at 300."""
    told = [
        record("models", "forecaster", announcement(OLD), 1),
        record("models", "forecaster", announcement(NEW), 300 * SECOND_MS),
    ]
    drift = Event(kind="drift", role="score", wall_ts_us=0, detail="residual")
    told += [record("events", "drift", drift, 220 * SECOND_MS)]
    told += [status("training", 240 * SECOND_MS), status("training", 260 * SECOND_MS), status("done", 290 * SECOND_MS)]
    for number in range(PLAN.change.total_min):
        minute, wall_ms = START_US + number * MINUTE_US, (number + 1) * SECOND_MS
        model_id = OLD if number < SWAP_MIN else NEW
        told.append(record("features", "AAPL", final_row(minute), wall_ms))
        told += forecasts(minute, "baseline", "walk", wall_ms) + forecasts(minute, "champion", model_id, wall_ms)
        loss = 1.2 if PLAN.change.turn_min <= number < SWAP_MIN else 0.9
        told.append(record("scores", "AAPL", score(minute, "baseline", "walk", 1.0), wall_ms))
        told.append(record("scores", "AAPL", score(minute, "champion", model_id, loss), wall_ms))
    return told


def figures_of(told: list[Record]) -> dict[str, Any]:
    seen = Seen()
    for one in told:
        seen.take(one)
    return judged(seen, PLAN)


def test_a_run_that_does_all_that_is_claimed_holds(tmp_path: Path) -> None:
    told = a_good_run()
    figures = figures_of(told)
    assert figures["holds"]
    assert (figures["swap_min"], figures["first_drift_min"], figures["reason"]) == (100, 19, "why")
    assert figures["skill_pinball_5m"] == pytest.approx(
        {"before_the_change": 0.1, "after_it_until_the_swap": -0.2, "after_the_swap": 0.1}
    )
    assert retrained.as_table(figures).row_count == len(figures["claims"])
    seen = Seen()
    for one in told:
        seen.take(one)
    retrained.draw(seen, figures, PLAN, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000


def slow(told: list[Record]) -> list[Record]:
    """Have forecasts wait while the network is trained."""
    return [
        one._replace(timestamp_ms=one.timestamp_ms + 50)
        if one.topic == "forecasts" and 240 < one.timestamp_ms / 1e3 < 290
        else one
        for one in told
    ]


@pytest.mark.parametrize(
    ("spoilt", "claim"),
    [
        (lambda told: [one for one in told if one.key != b"drift"], "drift_seen"),
        (lambda told: [one for one in told if NEW.encode() not in (one.value or b"") or one.topic != "models"], "promoted"),
        (lambda told: [one for one in told if f"-5-{NEW}".encode() not in (one.value or b"")], "nothing_without_forecast"),
        (lambda told: [*told, *[one for one in told if one.topic == "forecasts"][-1:]], "nothing_without_forecast"),
        (slow, "p99_kept"),
    ],
)
def test_a_run_that_does_not_fails_that_claim(spoilt: Any, claim: str) -> None:
    figures = figures_of(spoilt(a_good_run()))
    assert (figures["claims"][claim], figures["holds"]) == (False, False)
