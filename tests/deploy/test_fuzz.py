"""`tickcast verify fuzz`: what it waits for, and what it says of what came."""

from __future__ import annotations

import threading

import pytest

from deploy.verify import fuzz, fuzzed
from deploy.verify.fuzz import Inbox, Letter, Sent
from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.errors import BadMessage
from streams.settings import Settings

STAGE = "features"
LATER_S = 3.0  # some looks later


def letter(offset: int, topic: str = "ticks") -> Outgoing:
    record = Record(topic, 0, offset, b"FUZZ-0", b"%d" % offset, 0)
    return bus.dead_letter(record, STAGE, BadMessage("it is broken", "contract"))


def send(config: Settings, *sent: Outgoing) -> None:
    with bus.producing(config) as client:
        bus.send_all(client, config, sent)


def inbox(*offsets: int) -> Inbox:
    return Inbox("ticks", [(STAGE, 0, offset) for offset in offsets])


def test_neither_repeats_nor_letters_of_others_stand_for_one_that_is_to_come(config: Settings) -> None:
    seen = inbox(1, 2)
    send(config, letter(1), letter(1), letter(7), letter(2, "sentiment"))
    later = threading.Timer(LATER_S, send, (config, letter(2)))
    later.start()
    fuzz.settle(config, [], seen, lambda: 0)
    later.join()
    assert seen.missing == set()
    assert [one.offset for one in seen.letters] == [1, 1, 7, 2], "each is read once, and none of another topic"


def test_what_never_comes_is_waited_for_no_longer_than_was_said(config: Settings) -> None:
    seen = inbox(1, 2)
    send(config, letter(2))
    fuzz.settle(config, [], seen, lambda: 0, wait_s=1.5)
    assert seen.missing == {(STAGE, 0, 1)}


def test_good_ones_are_waited_for_until_none_is_missing(config: Settings) -> None:
    left = iter((2, 1, 0))
    fuzz.settle(config, [], inbox(), lambda: next(left))
    assert list(left) == []


def test_it_goes_on_while_something_comes(config: Settings) -> None:
    """Letters of good ones may be the last to come, and must be seen."""
    seen, asked = inbox(1), iter((letter(2), letter(3), None))

    def good_missing() -> int:
        came = next(asked)
        send(config, *[came] if came is not None else [])
        return came is not None

    send(config, letter(1))
    fuzz.settle(config, [], seen, good_missing)
    assert [one.offset for one in seen.letters] == [1, 2, 3]


def test_letters_are_judged_by_whose_they_are() -> None:
    sent = [
        Sent(0, 0, b"good", good=True, bad=False),
        Sent(0, 1, b"bad", good=False, bad=True),
        Sent(0, 2, b"worse", good=False, bad=True),
        Sent(0, 3, b"late", good=False, bad=False),
        Sent(1, 1, b"missing", good=False, bad=True),
    ]
    letters = [
        Letter(STAGE, 0, 1, b"bad"),
        Letter(STAGE, 0, 2, b"other"),
        Letter(STAGE, 0, 3, b"late"),
        Letter(STAGE, 0, 3, b"late"),
    ]
    assert fuzz.judged(sent, letters, (STAGE,)) == {
        "sent": 5,
        "good": 1,
        "bad": 3,
        "letters": 3,
        "letters_missing": 1,
        "letters_with_other_bytes": 1,
        "letters_repeated": 1,
        "good_dead": 0,
    }
    assert fuzz.judged(sent, [*letters, Letter(STAGE, 0, 0, b"good")], (STAGE, "another"))["letters_missing"] == 4
    assert fuzz.judged(sent, [*letters, Letter(STAGE, 0, 0, b"good")], (STAGE,))["good_dead"] == 1


@pytest.mark.parametrize("aim", fuzzed.AIMS, ids=lambda aim: aim.topic)
def test_all_that_is_sent_is_its_seed_s_and_good_ones_are_good(aim: fuzzed.Aim) -> None:
    records = list(aim.records(300, 1_340_285_400_000_000, 1))
    assert records == list(aim.records(300, 1_340_285_400_000_000, 1)) != list(aim.records(300, 1_340_285_400_000_000, 2))
    own = [record for record in records if record.topic == aim.topic]
    good = [record for record in own if not record.key.startswith(fuzzed.FUZZ.encode())]
    assert len(own) == 330
    assert len(good) == 30
    assert not any(aim.is_bad(record.value) for record in good)
    assert sum(aim.is_bad(record.value) for record in own) > 200


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        (b'"source":"","source":"x"', False),
        (b'"source":"x","source":""', True),
        (b'"source":""', True),
        (b'"source":"x"', False),
        (b'"source":"\\ud800","source":"x"', True),
        (b'"source":"x","later":{"source":"","source":""}', False),
    ],
)
def test_of_a_field_that_is_there_twice_the_last_must_be_good(field: bytes, *, bad: bool) -> None:
    (aim,) = (aim for aim in fuzzed.AIMS if aim.topic == "ticks")
    value = codec.encode(fuzzed.tick(1, "A", 1_340_285_400_000_000))
    assert aim.is_bad(value.replace(b'"source":"fuzz"', field)) is bad
    assert not any(
        aim.is_bad(strange) is False
        for strange in (None, b"", b"[]", b"[[1, 2], [1, 2]]", b"nul", b"[" * 100_000, b'{"seq":NaN,"seq":1}')
    )
