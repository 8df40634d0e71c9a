"""The Faust worker, in processes of its own, against a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.messages import Event
from streams.settings import Settings
from streams.testing import eventually

Start = Callable[..., subprocess.Popen[bytes]]
ROOT = Path(__file__).resolve().parents[2]
KEYS = [f"S{number}".encode() for number in range(7)]


@pytest.fixture
def start(config: Settings, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts an echo worker; what is left of them is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(mode: str, label: str = "", own: Settings = config) -> subprocess.Popen[bytes]:
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as errors:
            command = [sys.executable, "-m", "tests.consumers.echo_worker", mode, label]
            process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own.environment(), stderr=errors)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def feed(config: Settings, numbers: Iterable[int], topic: str = "ticks") -> None:
    client = bus.producer(config)
    bus.send_all(client, config, (Outgoing(topic, KEYS[n % 7], b"%d" % n, [("n", b"%d" % n)]) for n in numbers))
    client.close()


def outputs(config: Settings) -> list[Record]:
    return list(bus.read_all(config, "scores"))


def values(config: Settings) -> list[int]:
    return [int(record.value or b"") for record in outputs(config)]


def behind(config: Settings) -> int:
    """Return how many records the workers together have not committed."""
    with closing(bus.consumer(config, group_id=config.topic("echo"))) as client:
        ends = client.end_offsets(bus.partitions_of(client, config, "ticks"))
        return sum(end - (client.committed(place) or 0) for place, end in ends.items())


def states(config: Settings, pid: int) -> list[str]:
    told = (codec.decode(Event, record.value) for record in bus.read_all(config, "events"))
    return [event.state for event in told if event.counts["pid"] == pid]


def ready(config: Settings, process: subprocess.Popen[bytes]) -> None:
    def probe() -> bool:
        assert process.poll() is None, "the worker has ended"
        return "ready" in states(config, process.pid)

    eventually(probe, 40)


def terminate(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return process.wait(20), time.monotonic() - before


def test_every_record_comes_out_once_and_in_order_and_the_worker_stops_at_once(config: Settings, start: Start) -> None:
    process = start("echo")
    ready(config, process)
    feed(config, range(3_000))
    eventually(lambda: len(outputs(config)) >= 3_000)
    code, seconds = terminate(process)
    assert (code, seconds < 5) == (0, True)
    assert behind(config) == 0
    written, read = outputs(config), list(bus.read_all(config, "ticks"))
    assert written_by_partition(written) == written_by_partition(read)
    assert states(config, process.pid)[0] == "starting"
    assert states(config, process.pid)[-1] == "done"


def written_by_partition(records: list[Record]) -> dict[int, list[tuple[object, ...]]]:
    found: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    for record in records:
        found[record.partition].append((record.key, record.value, tuple(record.headers)))
    return found


def test_records_without_key_or_value_reach_the_handler(config: Settings, start: Start) -> None:
    client = bus.producer(config)
    client.send(config.topic("ticks"), value=None, key=b"\xff\xfe")
    client.send(config.topic("ticks"), value=b"\xff", key=None)
    client.flush()
    client.close()
    start("echo")
    eventually(lambda: len(outputs(config)) == 2)
    assert sorted((record.key, record.value) for record in outputs(config)) == [(b"", b"\xff"), (b"\xff\xfe", b"")]


def test_a_handler_is_called_again_when_it_is_due(config: Settings, start: Start) -> None:
    feed(config, range(10))
    start("later")
    eventually(lambda: sorted(values(config)) == list(range(10)), 30)


def test_a_killed_worker_loses_nothing(config: Settings, start: Start) -> None:
    feed(config, range(60_000))
    process = start("echo")
    with closing(bus.consumer(config)) as client:
        places = bus.partitions_of(client, config, "scores")
        eventually(lambda: sum(client.end_offsets(places).values()) > 1_000, interval_s=0.02)
        process.kill()
    process.wait()
    assert len(set(values(config))) < 60_000, "it was killed too late to show anything"
    feed(config, range(60_000, 60_010))
    start("echo")
    eventually(lambda: set(values(config)) == set(range(60_010)), 60, 0.5)


def test_a_second_worker_takes_over_a_share_and_nothing_is_lost(config: Settings, start: Start) -> None:
    first = start("echo")
    ready(config, first)
    feed(config, range(2_000))
    second = start("echo")
    feed(config, range(2_000, 4_000))
    ready(config, second)
    feed(config, range(4_000, 6_000))
    eventually(lambda: set(values(config)) == set(range(6_000)), 40)
    assert terminate(second)[0] == 0
    feed(config, range(6_000, 6_100))
    eventually(lambda: set(values(config)) == set(range(6_100)), 40)
    eventually(lambda: behind(config) == 0)


def test_records_that_faust_skips_are_read_again_in_their_turn(config: Settings, start: Start) -> None:
    own = msgspec.structs.replace(config, partitions=1, topic_prefix=config.topic_prefix + "one.")
    bus.ensure_topics(own)
    feed(own, range(30))
    process = start("leaky", own=own)
    eventually(lambda: values(own) == list(range(30)), 60)
    feed(own, range(30, 35))
    eventually(lambda: values(own) == list(range(35)))
    terminate(process)
    start("echo", own=own)
    feed(own, [35])
    eventually(lambda: values(own) == list(range(36)))


def test_the_ends_of_transactions_are_passed_over(config: Settings, start: Start) -> None:
    own = msgspec.structs.replace(config, partitions=1, topic_prefix=config.topic_prefix + "one.")
    bus.ensure_topics(own)
    ready(own, start("echo", own=own))
    client = bus.producer(own, transactional_id=own.topic("test"))
    client.init_transactions()
    for numbers in range(3), range(3, 6):
        client.begin_transaction()
        bus.send_all(client, own, (Outgoing("ticks", b"IBM", b"%d" % n) for n in numbers))
        client.commit_transaction()
    client.close()
    eventually(lambda: values(own) == list(range(6)), 40)


def test_a_worker_gets_the_same_partition_numbers_of_all_inputs(config: Settings, start: Start) -> None:
    own = msgspec.structs.replace(config, partitions=3, topic_prefix=config.topic_prefix + "three.")
    bus.ensure_topics(own)
    workers = [start("pair", label, own) for label in "ab"]
    for process in workers:
        ready(own, process)

    def owners() -> dict[bytes, set[bytes]]:
        feed(own, range(70))
        feed(own, range(70), "features")
        found: dict[bytes, set[bytes]] = defaultdict(set)
        for record in outputs(own)[-140:]:
            _topic, partition, label = (record.value or b"").split(b":")
            found[partition].add(label)
        return found

    eventually(lambda: {label for labels in owners().values() for label in labels} == {b"a", b"b"})
    eventually(lambda: all(len(labels) == 1 for labels in owners().values()))


def test_an_exception_ends_the_process_and_its_record_is_read_again(config: Settings, start: Start) -> None:
    armed = config.home / "armed"
    config.home.mkdir(exist_ok=True)
    armed.touch()
    process = start("bomb")
    ready(config, process)
    client = bus.producer(config)
    bus.send_all(client, config, [Outgoing("ticks", b"A", b"bomb")])
    client.close()
    assert process.wait(20) not in (0, -signal.SIGKILL)
    assert outputs(config) == []
    assert states(config, process.pid)[-1] == "failed"
    armed.unlink()
    start("bomb")
    eventually(lambda: [record.value for record in outputs(config)] == [b"bomb"])


def test_what_the_broker_refuses_ends_the_process_and_is_not_committed(config: Settings, start: Start) -> None:
    def sizes() -> list[int]:
        return [len(record.value or b"") for record in bus.read_all(config, "dead_letters")]

    client = bus.producer(config)
    bus.send_all(client, config, [Outgoing("ticks", b"A", b"4000000")])
    process = start("large")
    eventually(lambda: sizes() == [4_000_000])
    bus.send_all(client, config, [Outgoing("ticks", b"A", b"5000000")])
    client.close()
    assert process.wait(20) == 1
    assert sizes() == [4_000_000]
    assert start("large").wait(20) == 1, "the record was committed"


def test_memory_is_restored_up_to_where_the_group_stands(config: Settings, start: Start) -> None:
    feed(config, range(700))
    first = start("count")
    eventually(lambda: len(outputs(config)) == 700)
    assert terminate(first)[0] == 0
    feed(config, range(700, 1_000))
    start("count")
    eventually(lambda: len(outputs(config)) == 1_000)
    for written in written_by_partition(outputs(config)).values():
        assert [value for _, value, _ in written] == [b"%d/%d" % (n, n) for n in range(len(written))]
