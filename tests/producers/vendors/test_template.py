"""The templates of docs/add-a-source.md run as they stand."""

from __future__ import annotations

import json

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

from producers.vendors.base import Feed
from streams import settings
from streams.clock import wall_ts_us
from tests.producers.vendors.listening import listening
from tests.producers.vendors.servers import serving
from tests.producers.vendors.wire import Wire, named

TRADES, HEADLINES = find_examples("docs/add-a-source.md")


def feed(example: CodeExample, eval_example: EvalExample, argument: str = "") -> Feed:
    made = eval_example.run(example)
    (one,) = made["feeds"](argument, settings.load({}, poll_s="0.1"), ticks=not argument, headlines=bool(argument))
    assert isinstance(one, Feed)
    return one


@pytest.mark.parametrize("example", [TRADES], ids=str)
def test_the_template_of_trades_runs(example: CodeExample, eval_example: EvalExample) -> None:
    one = feed(example, eval_example)
    one.calendar = ""
    with listening(one) as heard:
        heard.until(lambda: heard.trades and heard.counts["repeats"])
        (trade,) = heard.trades
        assert (trade.seq, trade.price, trade.event_ts_us, trade.source) == (17, 9.5, 1_750_082_400_250_000, "template")


@pytest.mark.parametrize("example", [HEADLINES], ids=str)
def test_the_template_of_headlines_runs(example: CodeExample, eval_example: EvalExample) -> None:
    wire = Wire()
    told_us = wall_ts_us()
    wire.body = json.dumps([{"id": 1}, {"id": 2, "time_us": told_us, "title": "Apple rises", "link": "http://127.0.0.1/2"}])
    with serving(wire), listening(feed(example, eval_example, f"http://{wire.address}/feed"), intake=named()) as heard:
        heard.until(lambda: heard.stories and heard.counts["garbled"])
        (story,) = heard.stories
        assert (story.text, story.event_ts_us, story.source) == ("Apple rises", told_us, "headlines:127.0.0.1")
