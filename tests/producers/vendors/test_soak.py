"""The soak in small, and that its audit sees what is wrong."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

from streams.messages import Tick
from tests.producers.vendors import soak
from tests.producers.vendors.alpaca_server import Alpaca


@pytest.mark.slow
def test_half_a_minute_of_random_misbehaviour_ends_in_balance(tmp_path: Path) -> None:
    figures = soak.run("alpaca", 0.5, 3, tmp_path)
    assert figures["holds"], figures
    assert figures["in the lake"] > 100


def rows(server: Alpaca) -> list[Tick]:
    return [
        Tick(
            event_ts_us=one.event_ts_us,
            clock_ts_us=0,
            symbol=one.symbol,
            price=one.price,
            size=one.size,
            source="a",
            seq=one.number,
        )
        for one in server.happened
    ]


@pytest.mark.parametrize("fault", ["", "dropped", "doubled", "another price", "no notice"])
def test_the_audit_sees_each_planted_fault(fault: str) -> None:
    server = Alpaca()
    for _ in range(10):
        server.trade("AAPL")
    ticks = rows(server)
    server.amended.append(server.happened[0])
    notice = msgspec.structs.replace(ticks[0], seq=99, excluded=f"cancels {ticks[0].seq}")
    wrong = {
        "": [*ticks, notice],
        "dropped": [*ticks[1:], notice],
        "doubled": [*ticks, ticks[3], notice],
        "another price": [msgspec.structs.replace(ticks[0], price=7.0), *ticks[1:], notice],
        "no notice": ticks,
    }[fault]
    figures = soak.audit(server, pl.DataFrame([msgspec.structs.asdict(tick) for tick in wrong]))
    assert soak.balanced(figures) == (not fault)
