"""The stages' balance and the contract of every byte: they hold for a real run, and a planted fault is seen."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from deploy import audit, drained
from deploy.audit import Line
from deploy.cli import app
from deploy.verify import contract
from streams import bus, codec
from streams.bus import Outgoing
from streams.clock import MINUTE_US, wall_ts_us
from streams.messages import Event, Forecast, Score, Tick
from streams.settings import Settings
from tests.deploy.conftest import MINUTES, SYMBOLS, T0, Ran
from tests.pipeline import messages, tickcast

pytestmark = pytest.mark.slow
WEEK_MIN = 7 * 24 * 60.0
TRADES = MINUTES * 12 + 1


def send(config: Settings, *sent: Outgoing) -> None:
    with bus.producing(config) as client:
        bus.send_all(client, config, sent)


def adds_up(line: Line) -> bool:
    return line.taken == line.out + line.filtered + line.dead + line.waiting + line.missing - line.doubled


def by_stage(config: Settings) -> dict[str, Line]:
    lines = audit.balance(config, WEEK_MIN)
    assert all(adds_up(line) for line in lines), lines
    return {line.stage: line for line in lines}


def test_a_run_balances_as_its_table_says(ran: Ran, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    arguments = ("doctor", "--audit", "--minutes", str(WEEK_MIN), "--json", str(path))
    done = tickcast(ran.namespaced, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    stages = json.loads(path.read_text())["stages"]
    finals = len(SYMBOLS) * MINUTES
    assert {name: stages["stream"][name] for name in ("in", "out", "dead")} == {"in": TRADES + 2, "out": TRADES, "dead": 2}
    assert stages["sentiment"] | {"in": 3, "out": 3} == stages["sentiment"]
    assert stages["forecast"]["out"] == finals
    assert stages["score"]["out"] == sum(1 for _ in messages(ran.namespaced, "scores", Score))
    assert stages["score"]["waiting"] == finals * 3 - stages["score"]["out"]
    told = [event for event in messages(ran.namespaced, "events", Event) if event.kind in {"audit", "alert"}]
    assert {event.role: event.counts for event in told if event.kind == "audit"} == stages


def test_every_value_of_a_run_keeps_the_contract(ran: Ran, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    done = tickcast(ran.own, "verify", "contract", "--namespace", ran.report["namespace"], "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(path.read_text())
    assert figures["topics"]["ticks"]["dead_lettered"] == 1  # the trade without a price; one that is too late keeps the schema
    assert all(counts["broken"] == 0 for counts in figures["topics"].values())
    assert figures["topics"]["features"]["records"] == figures["topics"]["features"]["valid"] > 0


def test_a_value_that_breaks_the_contract_and_is_no_dead_letter_is_named(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "PATIENCE_S", 0.0)
    send(config, Outgoing("scores", b"A", b'{"symbol": 5}'), Outgoing("ticks", b"A", b"\xff"), Outgoing("events", b"x", b"NaN"))
    with Progress(console=Console(stderr=True)) as progress:
        figures = contract.run(config, progress, quick=False)
    assert not figures["holds"]
    assert {topic: counts["broken"] for topic, counts in figures["topics"].items() if counts["broken"]} == {
        "scores": 1,
        "ticks": 1,
        "events": 1,
    }
    assert any("is a required property" in line or "is not of type" in line for line in figures["named"])


def trade(minute: int, seq: int, symbol: str = "AAPL") -> Tick:
    at_us = T0 + minute * MINUTE_US
    return Tick(event_ts_us=at_us, clock_ts_us=at_us, symbol=symbol, price=1, size=1, source="planted", seq=seq)


def test_a_lost_trade_a_lost_score_and_a_row_that_counts_too_much_are_imbalances(
    ran: Ran, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topics of the run are copied without one trade, without the score of one forecast, and with a trade more."""
    monkeypatch.setattr(drained, "finished", everything_finished)
    scores = [record for record in bus.read_all(ran.namespaced, "scores")]
    for topic in audit.KINDS:
        records = scores[1:] if topic == "scores" else list(bus.read_all(ran.namespaced, topic))
        if topic == "ticks":
            dropped = next(at for at, record in enumerate(records) if codec.decode(Tick, record.value).seq == 100)
            records[dropped] = records[dropped]._replace(value=codec.encode(trade(3, 10**6)))
            records.append(records[0]._replace(value=codec.encode(trade(5, 10**6 + 1)), key=b"AAPL"))
        send(config, *(Outgoing(topic, one.key or b"", one.value or b"", (), one.partition) for one in records))
    lines = by_stage(config)
    assert (lines["stream"].missing, lines["stream"].doubled) == (2, 1)
    assert lines["score"].missing == 1
    assert all(lines[stage].balances for stage in ("sentiment", "forecast"))
    audit.publish(config, list(lines.values()))
    alerts = [event.detail for event in messages(config, "events", Event) if event.kind == "alert"]
    assert len(alerts) == 2
    assert all("does not balance" in alert for alert in alerts)


def everything_finished(settings: Settings, role: str) -> dict[str, dict[int, int]]:
    del settings, role
    return {topic: dict.fromkeys(range(62), 10**9) for topic in audit.KINDS}


def test_what_is_on_its_way_waits_and_is_not_missing(config: Settings) -> None:
    made = forecast()
    closing = msgspec.structs.replace(trade(0, 1), closes=True, clock_ts_us=T0 + MINUTE_US)
    send(config, bus.outgoing("ticks", "AAPL", trade(0, 1)), bus.outgoing("ticks", "AAPL", closing))
    send(config, bus.outgoing("forecasts", "AAPL", made), Outgoing("ticks", b"AAPL", b"broken"))
    lines = by_stage(config)
    assert lines["stream"] == Line("stream", "trades", taken=2, out=0, filtered=0, dead=0, waiting=2)
    assert lines["score"] == Line("score", "forecasts", taken=1, out=0, filtered=0, dead=0, waiting=1)


def forecast() -> Forecast:
    return Forecast(
        forecast_id="x",
        symbol="AAPL",
        as_of_ts_us=T0 + MINUTE_US,
        horizon_min=1,
        target_ts_us=T0 + 2 * MINUTE_US,
        last_price=1,
        mean=1,
        quantiles={"0.5": 1.0},
        prob_up=0.5,
        model_id="m",
        role="baseline",
        provisional=False,
        features_hash="",
    )


def test_a_look_at_the_last_minutes_takes_only_minutes_that_it_sees_whole(config: Settings) -> None:
    """Of the minute that was under way when the look begins, the first trades are too old to be seen."""
    old, new = wall_ts_us() // 1_000 - 3_600_000, wall_ts_us() // 1_000
    closings = [msgspec.structs.replace(trade(at, 7), closes=True, clock_ts_us=T0 + (at + 1) * MINUTE_US) for at in (0, 1)]
    with bus.producing(config) as client:
        for at_ms, tick in ((old, trade(0, 1)), (new, trade(0, 2)), (new, closings[0]), (new, trade(1, 3)), (new, closings[1])):
            client.send(config.topic("ticks"), codec.encode(tick), b"AAPL", timestamp_ms=at_ms)
            client.flush()
    (_, stream, *_) = audit.balance(config, minutes=30)
    assert (stream.taken, stream.waiting) == (1, 1)


def test_an_imbalance_is_exit_code_1(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Line("stream", "trades", taken=2, out=1, filtered=0, dead=0, waiting=0, missing=1)
    monkeypatch.setattr(audit, "balance", lambda *_: [lost])
    monkeypatch.setattr(audit, "PAUSE_S", 0.0)
    for name, value in config.environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["doctor", "--audit"])
    assert done.exit_code == 1
    assert "the stages DO NOT balance" in done.output
