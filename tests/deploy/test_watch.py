"""`tickcast watch`, as a user runs it and where nobody could see it change."""

from __future__ import annotations

import pytest
from rich.console import Console

from consumers.console.views import Views
from deploy import watch_cli
from streams import bus
from streams.messages import Message
from streams.settings import Settings
from tests.consumers.console.samples import bar, forecast, received, score, sent, status
from tests.pipeline import tickcast

NOW_US = 1_800_000_000_000_000


def shown(*messages: Message, wanted: frozenset[str] = frozenset()) -> str:
    views = Views()
    views.apply([received(message) for message in messages])
    console = Console(width=160)
    with console.capture() as capture:
        console.print(watch_cli.market_table(views.snapshot(NOW_US), wanted, horizon=5))
    return " ".join(capture.get().split())  # captions wrap


@pytest.mark.timeout(60)
def test_once_prints_what_the_topics_hold(config: Settings) -> None:
    messages: list[Message] = [
        *(bar(minute) for minute in range(40)),
        forecast(39),
        score(0),
        status("produce", detail="simulated"),
    ]
    with bus.producing(config) as client:
        bus.send_all(client, config, map(sent, messages))
    done = tickcast(config, "watch", "--once", "--symbols", "aapl")
    assert done.returncode == 0, done.stderr
    assert "SIMULATED" in done.stdout
    assert f"{bar(39).close:,.2f}" in done.stdout
    unknown = tickcast(config, "watch", "--once", "--symbols", "NOPE")
    assert (unknown.returncode, unknown.stderr) == (2, "tickcast: nothing is known of NOPE; there are AAPL\n")


def test_a_row_has_the_expected_move_its_interval_and_the_verdict() -> None:
    made = forecast(39)
    text = shown(*(bar(minute) for minute in range(40)), forecast(39, role="baseline", model_id="rw"), made, score(0))
    assert f"{made.mean / made.last_price - 1:+.3%}" in text
    assert f"{made.quantiles['0.1']:,.2f} … {made.quantiles['0.9']:,.2f}" in text
    assert "no demonstrated edge (+0.3%, p = 0.310, 240 scores)" in text


def test_what_is_missing_is_said() -> None:
    assert "NO SOURCE · no trade yet" in shown()
    assert "no forecast yet" in shown(bar(0))
    assert "no score yet" in shown(bar(0), forecast(0))
    assert "too few scores (20)" in shown(bar(0), forecast(0), score(0, rolling_n=20))
    assert "silent or failed: score" in shown(bar(0), status("score", wall_us=1))


def test_only_the_symbols_that_were_asked_for() -> None:
    text = shown(bar(0), bar(0, symbol="MSFT"), wanted=frozenset({"MSFT"}))
    assert "MSFT" in text
    assert "AAPL" not in text
