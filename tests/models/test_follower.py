"""What follows the announcements of models, against a real broker."""

from __future__ import annotations

import base64

from models import registry
from models.follower import ModelFollower
from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.errors import ModelError
from streams.messages import DeadLetter, Event, ModelAnnouncement
from streams.settings import Settings
from streams.testing import eventually


def announcement(model_id: str) -> Outgoing:
    message = ModelAnnouncement(name="m", model_id=model_id, uri="file:///m", sha256="0" * 64, promoted=True, reason="")
    return bus.outgoing("models", "m", message)


def test_a_malformed_announcement_is_a_dead_letter_and_the_next_good_one_serves(config: Settings) -> None:
    follower: ModelFollower[str] = ModelFollower("m", lambda told: told.model_id)
    with bus.producing(config) as client:
        bus.send_all(client, config, [announcement("first"), Outgoing("models", b"m", b'{"v": 2, "name": "m"}')])
        follower.start(config)
        assert follower.current() == "first"
        bus.send_all(client, config, [Outgoing("models", b"m", b"nonsense"), announcement("second")])
    eventually(lambda: follower.current() == "second")
    letters = eventually(lambda: found if len(found := list(bus.read_all(config, "dead_letters"))) == 2 else None)
    assert letters is not None
    values = [base64.b64decode(codec.decode(DeadLetter, letter.value).value_base64) for letter in letters]
    assert values == [b'{"v": 2, "name": "m"}', b"nonsense"]
    follower.stop()


def test_a_model_that_cannot_be_loaded_is_a_dead_letter_and_the_one_in_place_stays(config: Settings) -> None:
    def load(told: ModelAnnouncement) -> str:
        if told.model_id == "damaged":
            raise ModelError("its sha256 is not the one on its card")
        return told.model_id

    follower: ModelFollower[str] = ModelFollower("m", load)
    with bus.producing(config) as client:
        bus.send_all(client, config, [announcement("good"), announcement("damaged")])
    follower.start(config)
    assert follower.current() == "good"
    follower.stop()
    (letter,) = (codec.decode(DeadLetter, one.value) for one in bus.read_all(config, "dead_letters"))
    assert (letter.topic, letter.offset, letter.error_class) == ("models", 1, "ModelError")
    assert "sha256" in letter.message
    (alert,) = (codec.decode(Event, one.value) for one in bus.read_all(config, "events"))
    assert (alert.kind, alert.role) == ("alert", "m")
    assert "the model in place stays" in alert.detail


def test_a_challenger_runs_in_the_shadow_until_another_word_on_challengers(config: Settings) -> None:
    follower: ModelFollower[str] = ModelFollower("m", lambda told: told.model_id)

    def told(offset: int, model_id: str, *, promoted: bool = False, shadow: bool = False) -> tuple[str | None, str | None]:
        message = ModelAnnouncement(
            name="m", model_id=model_id, uri="file:///m", sha256="0" * 64, promoted=promoted, reason="", shadow=shadow
        )
        follower.take(Record("models", 0, offset, b"m", codec.encode(message), 0, ()))
        return follower.current(), follower.challenger()

    assert told(0, "a", promoted=True) == ("a", None)
    assert told(1, "b", shadow=True) == ("a", "b")
    assert told(2, "c", shadow=True) == ("a", "c")
    assert told(3, "c", promoted=True) == ("c", None)
    assert told(4, "d", shadow=True) == ("c", "d")
    assert told(5, "e") == ("c", None)


def test_after_a_restart_the_last_words_count(config: Settings) -> None:
    told = [("a", True, False), ("b", False, True), ("c", True, False), ("d", False, True)]
    with bus.producing(config) as client:
        for model_id, promoted, shadow in told:
            message = ModelAnnouncement(
                name="m", model_id=model_id, uri="file:///m", sha256="0" * 64, promoted=promoted, reason="", shadow=shadow
            )
            registry.announce(config, message, client)
    follower: ModelFollower[str] = ModelFollower("m", lambda told: told.model_id)
    follower.start(config)
    assert (follower.current(), follower.challenger()) == ("c", "d")
    follower.stop()


def test_a_champion_counts_from_the_minute_that_it_is_announced_for() -> None:
    follower: ModelFollower[str] = ModelFollower("m", lambda told: told.model_id)
    for offset, (model_id, from_ts_us) in enumerate([("a", 500), ("b", 1_000), ("c", 2_000)]):
        message = ModelAnnouncement(
            name="m",
            model_id=model_id,
            uri="file:///m",
            sha256="0" * 64,
            promoted=True,
            reason="",
            effective_from_ts_us=from_ts_us,
        )
        follower.take(Record("models", 0, offset, b"m", codec.encode(message), 0, ()))
        if model_id == "a":
            assert follower.current(0) == "a"  # somebody must serve
    assert [follower.current(at) for at in (999, 1_999, 2_000)] == ["b", "b", "c"]
    assert follower.current() == "c"
