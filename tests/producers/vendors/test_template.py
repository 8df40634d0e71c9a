"""The template of docs/add-a-source.md runs as it stands."""

from __future__ import annotations

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

from streams import settings
from tests.producers.vendors.listening import listening


@pytest.mark.parametrize("example", list(find_examples("docs/add-a-source.md")), ids=str)
def test_the_template_runs(example: CodeExample, eval_example: EvalExample) -> None:
    made = eval_example.run(example)
    (feed,) = made["feeds"]("", settings.load({}), ticks=True, headlines=False)
    feed.calendar = ""
    with listening(feed) as heard:
        heard.until(lambda: heard.trades and heard.counts["repeats"])
        (one,) = heard.trades
        assert (one.seq, one.price, one.event_ts_us, one.source) == (17, 9.5, 1_750_082_400_250_000, "template")
