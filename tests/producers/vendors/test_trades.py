"""What the clients of Alpaca and Massive, unmodified, share on servers that misbehave: each trade comes, and comes once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from producers.vendors import alpaca, polygon
from producers.vendors.alpaca import AlpacaTrades
from producers.vendors.polygon import PolygonTrades
from streams import settings
from streams.errors import SourceError
from streams.settings import Secret, Settings
from tests.producers.vendors.listening import listening
from tests.producers.vendors.servers import Server, serving
from tests.producers.vendors.sources import KINDS

FEEDS: dict[str, Callable[[Settings], AlpacaTrades | PolygonTrades]] = {"alpaca": AlpacaTrades, "polygon": PolygonTrades}


class Vendor(NamedTuple):
    """A server, and who listens to it."""

    name: str
    server: Server

    def feed(self, **changes: Any) -> AlpacaTrades | PolygonTrades:
        own = KINDS[self.name].settings(self.server, settings.load({}, stale_s="60", poll_s="0.1"))
        made = FEEDS[self.name](msgspec.structs.replace(own, **changes))
        made.calendar = ""  # the market may be closed when the tests run; what a silent line is then, test_live.py says
        return made


@pytest.fixture(params=FEEDS)
def vendor(request: pytest.FixtureRequest) -> Iterator[Vendor]:
    server = KINDS[request.param].server()
    with serving(server):
        yield Vendor(request.param, server)


def test_trades_with_repeats_and_disorder_come_once(vendor: Vendor) -> None:
    with listening(vendor.feed()) as heard:
        heard.up()
        happened = [vendor.server.trade(symbol) for symbol in ("AAPL", "MSFT", "AAPL")]
        vendor.server.tell(happened[2], happened[0], happened[2], happened[1])
        heard.has(happened)


def test_a_line_that_is_cut_comes_back_with_what_was_missed(vendor: Vendor) -> None:
    with listening(vendor.feed()) as heard:
        heard.up()
        before = vendor.server.trades("AAPL", 3)
        heard.has(before)
        vendor.server.cut()
        missed = [vendor.server.trade("AAPL") for _ in range(3)]
        heard.has(before + missed)
        heard.has(before + missed + vendor.server.trades("MSFT", 2))


def test_a_silent_socket_is_torn_down(vendor: Vendor) -> None:
    with listening(vendor.feed(stale_s=0.7)) as heard:
        heard.up()
        first = vendor.server.trades("AAPL")
        heard.has(first)
        vendor.server.silent = True
        heard.has(first + vendor.server.trades("AAPL", 2))
        assert heard.counts["silent"] >= 1


@pytest.mark.parametrize(
    ("vendor", "changes", "refuses", "says"),
    [
        ("alpaca", {"alpaca_secret": Secret("wrong-one")}, "", "alpaca refuses TICKCAST_ALPACA_KEY"),
        ("alpaca", {}, "subscription", "insufficient subscription"),
        ("alpaca", {}, "symbols", "fewer symbols"),
        ("alpaca", {"symbols": "AAPL,NO1"}, "", "invalid symbol: NO1"),
        ("polygon", {"polygon_key": Secret("wrong-one")}, "", "massive refuses TICKCAST_POLYGON_KEY"),
        ("polygon", {}, "subscription", "not authorized to subscribe"),
        ("polygon", {"symbols": "AAPL,NO1"}, "", "massive has no NO1"),
    ],
    indirect=["vendor"],
)
def test_what_a_vendor_refuses_is_the_users(vendor: Vendor, changes: dict[str, Any], refuses: str, says: str) -> None:
    vendor.server.refuses = refuses
    with listening(vendor.feed(**changes)) as heard:
        assert isinstance(heard.failed(), SourceError)
        assert says in str(heard.error)
        assert "wrong-one" not in str(heard.error)


@pytest.mark.parametrize(("feeds", "name"), [(alpaca.feeds, "TICKCAST_ALPACA_KEY"), (polygon.feeds, "TICKCAST_POLYGON_KEY")])
def test_a_key_is_needed(feeds: Callable[..., object], name: str) -> None:
    with pytest.raises(SourceError, match=f"needs {name}"):
        feeds("", settings.load({}), ticks=True, headlines=True)
