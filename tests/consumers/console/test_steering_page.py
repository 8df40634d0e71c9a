"""The buttons of the page in a real Chromium: each is an order on `control`, carried out by the real producer and steward."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from consumers.console.tapes import Tape, Tapes
from deploy.tapes import HomeTapes, described
from producers.pace import Course
from producers.replay import Replay
from streams import bus, control
from streams.clock import MINUTE_US, wall_ts_us
from streams.messages import Control, DeadLetter, Event
from streams.settings import Secret, Settings
from streams.testing import eventually
from tests.consumers.console.conftest import Produce, serving
from tests.consumers.console.samples import START_US, bar, status
from tests.consumers.console.test_page import CHROMIUM, browser, page, photograph, store
from tests.deploy.test_steward import steward
from tests.producers.test_run import T0, tape
from tests.producers.test_steering import running

__all__ = ["browser", "page", "tape"]  # fixtures

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium here: install the package `chromium`"),
]


@pytest.fixture
def own(config: Settings) -> Settings:
    """Return settings whose console takes orders."""
    return msgspec.structs.replace(config, console_token=Secret("secret"))


@contextmanager
def opened(own: Settings, page: Page, tapes: Tapes | None = None) -> Iterator[None]:
    """Open the page of a console with its token, for the length of a block; it leaves before the console goes."""
    with serving(own, tapes=tapes) as address:
        page.goto(f"{address}/#token=secret")
        yield
        page.goto("about:blank")


def words(config: Settings, kind: str) -> list[Control]:
    """Return the orders of a kind, without answers."""
    said = control.decoded(bus.read_all(config, "control"))
    return [word for word in said if word.kind == kind and not control.is_answer(word)]


SEEK = """(slider, at) => {
    slider = document.getElementById(slider);
    slider.value = at;
    for (const name of ['input', 'change']) slider.dispatchEvent(new Event(name));
}"""


def place(minute: float) -> list[object]:
    """Return what `SEEK` takes for a minute of the tape."""
    return ["replay-slider", (T0 + minute * MINUTE_US) / 1e6]


def seek(page: Page, minute: float) -> None:
    """Let the scrubber go at a minute of the tape."""
    page.evaluate(f"(place) => ({SEEK})(...place)", place(minute))


def test_a_tape_is_held_sought_and_hurried_from_the_page(own: Settings, tape: Path, page: Page) -> None:
    known = Known(tape)
    with running(own, Replay.of_folder(tape), Course(1)) as run, opened(own, page, known):
        expect(page.locator("#mode")).to_have_text("REPLAY")
        assert "secret" not in page.url
        page.locator("#course").click()
        expect(page.locator("#course")).to_have_text("1\u00d7")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#replay-answer")).to_have_text("The tape is held")
        expect(page.locator("#course")).to_have_text("held")
        seek(page, 5)
        eventually(lambda: 4.9 < run.minute <= 5)
        expect(page.locator("#replay-words")).to_have_text("The tape is held")
        expect(page.locator("#replay-share")).to_have_text("55.5 %")
        expect(page.locator("#replay-volume rect")).to_have_count(120)
        photograph(page, "replay")
        seek(page, 2)
        expect(page.locator("#confirm-words")).to_contain_text("the tape begins again")
        photograph(page, "replay-confirm", schemes=("dark",))
        # asked again before the browser tells that the first question was closed
        page.get_by_role("button", name="No", exact=True).evaluate(f"(no) => {{ no.click(); ({SEEK})(...{place(2)}); }}")
        page.get_by_role("button", name="Go back").click()
        expect(page.locator("#replay-answer")).to_contain_text("begins again, in topics of its own")
        page.get_by_role("button", name="max").first.click()
        expect(page.locator("#course")).to_have_text("held")
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#replay-words")).to_have_text("The tape has ended")
        expect(page.locator("#replay-left")).to_have_text("ended")
        assert [word.arguments["do"] for word in words(own, "replay")] == ["pause", "seek", "seek", "speed", "resume"]


class Known:
    """Who knows the tape that runs."""

    def __init__(self, tape: Path) -> None:
        self._tape = tape

    def listed(self) -> list[Tape]:
        return [self.running()]

    def running(self) -> Tape:
        found = described("june", self._tape)
        assert found is not None
        return found


def test_a_tape_is_chosen_and_started_beside_what_runs(own: Settings, tape: Path, page: Page, produce: Produce) -> None:
    folder = own.home / "tapes"
    folder.mkdir(parents=True)
    (folder / "<b>june").symlink_to(tape)
    produce(bar(0), status("produce", detail="simulated, seed 7"), status("steward", replay_page=8399))
    with opened(own, page, HomeTapes(own)):
        expect(page.locator("#mode")).to_have_text("SIMULATED")
        page.get_by_role("link", name="Replay", exact=True).click()
        row = page.locator("#tapes tbody tr")
        expect(row).to_contain_text("<b>june")
        expect(row).to_contain_text("AAPL, AMZN, META")
        expect(page.locator("#replay-link")).to_have_text("http://127.0.0.1:8399/")
        page.locator("#start-speeds button", has_text="10\u00d7").click()
        row.get_by_role("button", name="Start").click()
        asked = eventually(lambda: words(own, "replay"))[0]
        assert asked.arguments == {"do": "start", "tape": "<b>june", "speed": "10"}
        photograph(page, "tapes")
        control.send(own, control.answer(asked, "steward", "begun", "the replay starts"))
        expect(page.locator("#start-answer")).to_have_text("The replay starts")
        control.send(own, control.answer(asked, "steward", "refused", "a replay runs already"))
        expect(page.locator("#start-answer")).to_have_text("A replay runs already")


def test_models_are_promoted_rolled_back_and_trained_only_when_that_is_meant(own: Settings, page: Page, produce: Produce) -> None:
    for name, skill in (("lstm-1", 0.018), ("lstm-2", 0.021)):
        store(own, name, skill, at_us=wall_ts_us())
    drift = Event(
        kind="drift", role="score", wall_ts_us=wall_ts_us(), detail="AAPL: residuals grew", counts={"event_ts_us": START_US}
    )
    produce(bar(0), status("steward"), status("retrain"), drift)
    with opened(own, page):
        page.get_by_role("link", name="Models", exact=True).click()
        expect(page.locator("#line circle")).to_have_count(5)
        page.locator("#line circle.promoted").first.click()
        expect(page.locator("#line-words")).to_contain_text("lstm-1 became champion: better than the walk")
        page.get_by_role("button", name="Roll back").click()
        expect(page.locator("#confirm-words")).to_contain_text("Roll back from lstm-2 to lstm-1?")
        page.keyboard.press("Escape")
        assert words(own, "rollback") == []
        for button, yes, kind, arguments in (
            ("Roll back", "Roll back", "rollback", {"name": "forecaster", "reason": ""}),
            ("Promote", "Promote", "promote", {"model_id": "lstm-1", "reason": ""}),
            ("Train now", "Train", "retrain", {}),
        ):
            page.locator("main").get_by_role("button", name=button).click()
            page.locator("#confirm").get_by_role("button", name=yes).click()
            asked = eventually(partial(words, own, kind))[0]
            assert asked.arguments == arguments
            control.send(own, control.answer(asked, "steward", "done", f"{kind} is done"))
            expect(page.locator("#models-answer")).to_have_text(f"{kind} is done".capitalize())
        photograph(page, "models-changed")


def test_a_dead_letter_is_sent_again_once_and_logs_are_read(own: Settings, page: Page, produce: Produce) -> None:
    value = base64.b64encode(b"{}").decode()
    letter = DeadLetter(
        topic="ticks", partition=0, offset=7, stage="features", error_class="contract", message="m", value_base64=value
    )
    late = msgspec.structs.replace(letter, offset=8, error_class="too_late")
    with bus.producing(own) as client:
        bus.send_all(client, own, [bus.outgoing("dead_letters", "ticks", one) for one in (letter, late)])
    logs = own.state / "logs"
    logs.mkdir(parents=True)
    (logs / "stream.log").write_text("".join(f"line {number}\n" for number in range(900)) + "<script>secret\n")
    produce(bar(0), status("stream"))
    with opened(own, page), steward(own):
        page.get_by_role("link", name="Pipeline", exact=True).click()
        expect(page.locator("#roles tbody tr", has_text="steward")).to_be_visible()
        for summary in page.locator("#letters summary").all():
            summary.click()
        expect(page.get_by_role("button", name="Send again")).to_have_count(1)  # what came too late has no way back
        page.locator("#letters").get_by_role("button", name="Send again").click()
        page.locator("#confirm").get_by_role("button", name="Send again").click()
        expect(page.locator("#letters-answer")).to_have_text("It is on its way again")
        assert [record.value for record in bus.read_all(own, "ticks")] == [b"{}"]
        page.locator("#roles").get_by_role("button", name="stream").click()
        expect(page.locator("#log")).to_contain_text("<script>(token)")
        assert len(page.locator("#log").inner_text().splitlines()) == 200
        photograph(page, "pipeline-log", schemes=("dark",))


def test_without_the_token_the_page_asks_for_it_and_a_wrong_one_changes_nothing(
    own: Settings, browser: Browser, produce: Produce
) -> None:
    produce(bar(0), status("produce", detail="replay:x", speed_milli=1_000, paused=0, seek_ts_us=0, first_ts_us=1, last_ts_us=2))
    with serving(own) as address:
        page = browser.new_page()  # its complaint about the 401 is meant
        page.goto(f"{address}/#replay")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#replay-answer")).to_contain_text("needs the console's token")
        page.get_by_role("button", name="Pause").click()
        page.locator("#token").fill("wrong")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#replay-answer")).to_contain_text("nothing is changed here without the token")
        assert words(own, "replay") == []
        page.get_by_role("button", name="Pause").click()
        page.locator("#token").fill("secret")
        page.locator("#token").press("Enter")
        expect(page.locator("#replay-answer")).to_have_text("…")
        assert eventually(lambda: words(own, "replay"))[0].arguments == {"do": "pause"}
        page.close()
