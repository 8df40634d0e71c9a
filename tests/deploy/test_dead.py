"""`tickcast dead`: letters are counted once, shown whole, and sent back once, through a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy import dead
from deploy.cli import app
from deploy.dead import BEGUN, DONE, Name
from producers import resume
from streams import bus
from streams.bus import REDRIVEN_HEADER, Outgoing, Record
from streams.errors import BadMessage
from streams.messages import Control, Tick
from streams.settings import Settings
from tests.pipeline import tickcast

T0 = 1_340_285_400_000_000
NEW = ("replay", "contract", "faults", "all")
BROKEN = [b"no JSON", b"\xff\x00", b'{"price":0}']


def send(config: Settings, *sent: Outgoing) -> None:
    with bus.producing(config) as client:
        bus.send_all(client, config, sent)


def letter(record: Record, reason: str = "contract", stage: str = "features") -> Outgoing:
    return bus.dead_letter(record, stage, BadMessage("it is broken", reason))


@pytest.fixture
def ticks(config: Settings) -> list[Record]:
    """Return three broken ticks on their topic, each with a header, and one dead letter of each, the first twice."""
    send(
        config,
        *(Outgoing("ticks", b"AAPL", value, [("number", b"%d" % at), ("raw", b"\xff")]) for at, value in enumerate(BROKEN)),
    )
    records = sorted(bus.read_all(config, "ticks"), key=lambda record: record.offset)
    assert [record.value for record in records] == BROKEN
    send(config, *(letter(record) for record in [records[0], *records]))
    return records


def again(config: Settings) -> list[Record]:
    return [record for record in bus.read_all(config, "ticks") if record.header(REDRIVEN_HEADER)]


def redrive(config: Settings, **kind: str) -> dead.Redriven:
    wanted = {"topic": "", "stage": "", "reason": ""} | kind
    return dead.redrive(config, list(dead.choose(dead.letters(config), [], **wanted)))


def test_letters_are_counted_once_by_stage_and_reason(config: Settings, ticks: list[Record]) -> None:
    send(config, letter(ticks[0], "not_json", "sentiment"), Outgoing("dead_letters", b"x", b"a stranger's bytes"))
    lines = [(line.stage, line.reason, line.letters) for line in dead.summary(dead.letters(config), [])]
    assert lines == [("features", "contract", 3), ("sentiment", "not_json", 1)]


def test_the_original_bytes_key_and_headers_come_again_once(config: Settings, ticks: list[Record]) -> None:
    assert len(redrive(config).sent) == 3
    found = again(config)
    assert [(record.key, record.value, record.partition) for record in found] == [
        (record.key, record.value, record.partition) for record in ticks
    ]
    assert [record.headers[:2] for record in found] == [record.headers for record in ticks]
    second = redrive(config)
    assert (len(second.sent), len(second.already)) == (0, 3)
    assert len(again(config)) == 3
    done = (name for name, (state, _) in dead.marks(config).items() if state == DONE)
    assert [line.redriven for line in dead.summary(dead.letters(config), done)] == [3]


def test_a_run_that_was_broken_off_sends_what_is_not_there_and_nothing_twice(config: Settings, ticks: list[Record]) -> None:
    """Of three letters that were begun, the first had been sent when the run died."""
    names = [Name("ticks", record.partition, record.offset, "features") for record in ticks]
    notes = [control(name, BEGUN) for name in names]
    sent = Outgoing("ticks", b"AAPL", BROKEN[0], [(REDRIVEN_HEADER, str(names[0]).encode())], ticks[0].partition)
    send(config, *notes, sent)
    done = redrive(config)
    assert (done.sent, done.already) == (names[1:], names[:1])
    assert [record.value for record in again(config)] == BROKEN
    assert not redrive(config).sent


def control(name: Name, state: str) -> Outgoing:
    arguments = {field: str(value) for field, value in name._asdict().items()} | {"state": state}
    order = Control(command_id="x", kind="redrive", asked_by="test", wall_ts_us=0, arguments=arguments)
    return bus.outgoing("control", "x", order)


def test_what_is_too_late_or_from_the_future_stays_dead(config: Settings, ticks: list[Record]) -> None:
    send(config, letter(ticks[0], "too_late", "late"), letter(ticks[1], "from_the_future", "late"))
    done = redrive(config, stage="late")
    assert (done.sent, done.already, [name.offset for name in done.refused]) == ([], [], [0, 1])
    assert again(config) == []
    refused = tickcast(config, "dead", "redrive", "--stage", "late")
    assert (refused.returncode, "stay dead" in refused.stderr) == (2, True)


def test_what_is_no_longer_in_its_topic_comes_from_the_letter(config: Settings) -> None:
    gone = Record("headlines", 1, 10**9, None, b"bytes", 0, (("a", b"b"),))
    send(config, letter(gone), letter(gone._replace(offset=10**9 + 1, value=None), "no_value"))
    assert len(redrive(config).sent) == 2
    found = [record for record in bus.read_all(config, "headlines")]
    assert [(record.partition, record.key, record.value, record.headers[0]) for record in found] == [
        (1, None, b"bytes", ("a", b"b")),
        (1, b"", None, ("a", b"b")),  # kafka-python sends no record without both
    ]


def test_a_source_that_goes_on_is_not_led_astray_by_what_was_redriven(config: Settings) -> None:
    def tick(seq: int) -> Outgoing:
        message = Tick(event_ts_us=T0, clock_ts_us=T0, symbol="AAPL", price=1, size=1, source="x", seq=seq)
        return bus.outgoing("ticks", "AAPL", message, [(resume.NUMBER_HEADER, b"%d" % (seq + 1))])

    send(config, tick(0), tick(1), tick(2), tick(0)._replace(headers=[(resume.NUMBER_HEADER, b"1"), (REDRIVEN_HEADER, b"x")]))
    assert resume.highest_seq(config, "x") == 2
    assert list(resume.numbers(config, "x").values()) == [3]


@pytest.fixture
def command(config: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    for name, value in config.environment().items():
        monkeypatch.setenv(name, value)
    yield CliRunner()


def test_the_commands_list_show_and_redrive_by_name(
    config: Settings, ticks: list[Record], command: CliRunner, tmp_path: Path
) -> None:
    path = tmp_path / "figures.json"
    assert command.invoke(app, ["dead", "list", "--json", str(path)]).exit_code == 0
    assert json.loads(path.read_text())["letters"] == 3
    name = f"ticks/{ticks[1].partition}/1"
    assert command.invoke(app, ["dead", "show", name, "--json", str(path)]).exit_code == 0
    (shown,) = json.loads(path.read_text())["letters"]
    assert (shown["name"], shown["value"], shown["key"]) == (f"{name}/features", "hex ff 00", "AAPL")
    assert command.invoke(app, ["dead", "redrive", name, "--json", str(path)]).exit_code == 0
    assert json.loads(path.read_text())["names"] == [f"{name}/features"]
    assert [record.value for record in again(config)] == [BROKEN[1]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["redrive"], "say which dead letters"),
        (["redrive", "ticks/0"], "a dead letter's name is TOPIC/PARTITION/OFFSET"),
        (["redrive", "ticks/0/77"], "there is no dead letter 'ticks/0/77'"),
        (["redrive", "--topic", "tick"], "there is no topic 'tick'"),
    ],
)
def test_a_mistake_is_one_sentence(command: CliRunner, arguments: list[str], says: str) -> None:
    done = command.invoke(app, ["dead", *arguments])
    assert says in str(done.exception)


@pytest.mark.parametrize(
    "command",
    ["record", "replay", "dead list", "dead show", "dead redrive", "doctor", *(f"verify {name}" for name in NEW)],
)
def test_every_command_says_what_it_is_for(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0, done.exception
    assert "Usage" in done.output


def test_a_letter_that_holds_a_stranger_s_words_is_no_name() -> None:
    assert dead.parse("ticks/1/2")(Name("ticks", 1, 2, "any"))
    assert not dead.parse("ticks/1/2/a/b")(Name("ticks", 1, 2, "any"))
    assert dead.parse("ticks/1/2/a/b")(Name("ticks", 1, 2, "a/b"))
