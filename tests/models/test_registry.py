from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from models import registry
from models.follower import ModelFollower
from models.forecaster import onnx_model
from models.forecaster.onnx_model import OnnxForecaster
from models.registry import Losses, StoredModel
from streams import bus, codec, settings
from streams.bus import Outgoing, Record
from streams.clock import MINUTE_US
from streams.errors import ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings
from streams.testing import eventually
from tests.models.forecaster.samples import card, rows, stored_onnx


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load({}), home=tmp_path / "home")


@pytest.fixture
def stored(own: Settings, tmp_path: Path) -> StoredModel:
    return stored_onnx(own, tmp_path / "made")


def announced(stored: StoredModel, *, promoted: bool = True) -> ModelAnnouncement:
    return stored.announcement(promoted=promoted, reason="test")


def test_a_model_is_named_after_its_graph_and_nothing_unfinished_stays(own: Settings, stored: StoredModel) -> None:
    assert stored.card.model_id == "lstm-" + registry.checksum(stored.served)[:8]
    assert [path.name for path in (own.home / "models" / "forecaster").iterdir()] == [stored.card.model_id]
    assert registry.load(announced(stored).uri, stored.sha256) == stored


def test_the_same_graph_stored_again_keeps_its_id(own: Settings, stored: StoredModel, tmp_path: Path) -> None:
    again = stored_onnx(own, tmp_path / "made again")
    assert again == stored
    assert registry.load(announced(stored).uri, stored.sha256) == stored


def test_loss_curves_stay_with_their_model_and_damaged_ones_stop_nothing_but_themselves(
    own: Settings, stored: StoredModel, tmp_path: Path
) -> None:
    assert registry.losses(own, "forecaster", stored.card.model_id) is None
    (tmp_path / "other").mkdir()
    registry.write_losses(tmp_path / "other", Losses(train=[0.4, 0.3], validation=[0.4, 0.35]))
    other = stored_onnx(own, tmp_path / "other", seed=2)
    assert other.card.files[registry.LOSSES] == registry.checksum(other.folder / registry.LOSSES)
    assert registry.losses(own, "forecaster", other.card.model_id) == Losses(train=[0.4, 0.3], validation=[0.4, 0.35])
    (other.folder / registry.LOSSES).write_bytes(b"{")
    with pytest.raises(ModelError, match="its curves are also in MLflow"):
        registry.losses(own, "forecaster", other.card.model_id)


@pytest.mark.parametrize("name", ["model.onnx", "meta.json"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" + data[1:]])
def test_a_damaged_file_is_refused(stored: StoredModel, name: str, damage: object) -> None:
    path = stored.folder / name
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ModelError):
        onnx_model.load(announced(stored))


def test_a_missing_model_and_a_wrong_checksum_are_refused(stored: StoredModel, tmp_path: Path) -> None:
    for uri, sha256 in [((tmp_path / "none").as_uri(), stored.sha256), (announced(stored).uri, "0" * 64)]:
        with pytest.raises(ModelError):
            registry.load(uri, sha256)


@pytest.mark.parametrize(("field", "value"), [("feature_version", 0), ("horizons_min", (1, 2, 3)), ("window", 49)])
def test_a_model_for_other_features_is_refused(own: Settings, stored: StoredModel, field: str, value: object) -> None:
    other = StoredModel(stored.folder, msgspec.structs.replace(stored.card, **{field: value}))
    with pytest.raises(ModelError, match="train again"):
        OnnxForecaster(other)


def test_a_graph_that_is_none_is_refused_although_its_checksum_is_right(own: Settings, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / registry.SERVED).write_bytes(b"this is no graph")
    with pytest.raises(ModelError):
        OnnxForecaster(registry.save(own, card(), "lstm", tmp_path / "made"))


def test_the_newest_model_that_is_whole_is_found(own: Settings, stored: StoredModel, tmp_path: Path) -> None:
    assert registry.newest(own, "sentiment") is None
    later = stored_onnx(own, tmp_path / "made later", seed=2)
    assert registry.newest(own, "forecaster") == later
    (later.folder / registry.SERVED).unlink()
    assert registry.newest(own, "forecaster") == stored


def test_the_card_is_json_for_people(stored: StoredModel) -> None:
    assert json.loads((stored.folder / registry.CARD).read_text())["data_cutoff_ts_us"] == 123


def record(offset: int, message: ModelAnnouncement | bytes) -> Record:
    value = message if isinstance(message, bytes) else codec.encode(message)
    return Record("models", 0, offset, b"forecaster", value, 0)


def test_the_follower_keeps_the_newest_promoted_model_that_loads(own: Settings, tmp_path: Path) -> None:
    first, second = (stored_onnx(own, tmp_path / f"made {seed}", seed) for seed in (1, 2))
    broken = msgspec.structs.replace(announced(second), sha256="0" * 64)
    stranger = msgspec.structs.replace(announced(second), name="sentiment")
    follower = ModelFollower("forecaster", onnx_model.load)
    assert follower.current() is None
    follower.take(record(0, announced(first)))
    ignored: list[ModelAnnouncement | bytes] = [announced(second, promoted=False), broken, stranger, b"{"]
    for offset, message in enumerate(ignored, start=1):
        follower.take(record(offset, message))
        assert (model := follower.current()) is not None
        assert model.model_id == first.card.model_id
    follower.take(record(5, announced(second)))
    follower.take(record(0, announced(first)))  # read again from the beginning
    assert (model := follower.current()) is not None
    assert model.model_id == second.card.model_id


def test_the_follower_has_what_was_announced_before_and_takes_what_comes(config: Settings, tmp_path: Path) -> None:
    first, second = (stored_onnx(config, tmp_path / f"made {seed}", seed) for seed in (1, 2))
    follower = ModelFollower("forecaster", onnx_model.load)
    client = bus.producer(config)
    try:
        registry.announce(config, announced(first), client)
        follower.start(config)
        assert (model := follower.current()) is not None
        assert model.model_id == first.card.model_id
        registry.announce(config, announced(second), client)
        eventually(lambda: (model := follower.current()) is not None and model.model_id == second.card.model_id)
    finally:
        follower.stop()
        client.close()


def test_a_champion_is_announced_for_a_minute_that_is_yet_to_come(config: Settings, stored: StoredModel) -> None:
    assert registry.scheduled(config, announced(stored)).effective_from_ts_us == 0
    told = rows(3)
    with bus.producing(config) as client:
        records = [bus.outgoing("features", row.symbol, row) for row in told]
        bus.send_all(client, config, [*records, Outgoing("features", b"MSFT", b"nonsense")])
    newest_end = told[-1].minute_ts_us + MINUTE_US
    assert registry.scheduled(config, announced(stored)).effective_from_ts_us == newest_end + registry.LEAD_MIN * MINUTE_US
