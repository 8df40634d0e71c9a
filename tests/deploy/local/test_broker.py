"""The embedded broker: what its start depends on, and that its data outlives it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from deploy.local import broker
from streams import bus, settings
from streams.bus import Outgoing


def test_no_cluster_id_looks_like_an_option() -> None:
    ids = {broker.new_cluster_id() for _ in range(2_000)}
    assert len(ids) == 2_000
    assert {len(one) for one in ids} == {22}
    assert not any(one.startswith("-") for one in ids)


def test_a_broker_started_again_on_its_folder_has_its_records(tmp_path: Path) -> None:
    for start in range(2):
        with broker.running(settings.load({}), tmp_path / "broker") as running:
            config = msgspec.structs.replace(settings.load({}), broker=running.address)
            bus.ensure_topics(config)
            assert len(list(bus.read_all(config, "events"))) == start
            with bus.producing(config) as client:
                bus.send(client, config, Outgoing("events", b"k", b"v"))
