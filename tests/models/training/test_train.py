"""Training of the real network, on little: these load TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models import registry
from models.forecaster import onnx_model
from models.forecaster.base import HORIZONS_MIN
from models.forecaster.random_walk import RandomWalk, Z
from models.training import dataset
from models.training.train import compare, train, verdict
from streams import bus, codec, settings
from streams.errors import ModelError, UserError
from streams.messages import Event, ModelAnnouncement
from streams.settings import Settings
from tests.models.forecaster.samples import rows, windows
from tests.models.training.lakes import fill


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = msgspec.structs.replace(settings.load({}), home=tmp_path_factory.mktemp("home"), broker="")
    fill(made, rows(700), rows(700, "MSFT", seed=2))
    return made


@pytest.fixture(scope="module")
def announced(own: Settings) -> ModelAnnouncement:
    return train(own, epochs=2, seed=3, progress=False)


@pytest.mark.slow
def test_training_stores_a_model_that_serves_and_says_how_it_did(own: Settings, announced: ModelAnnouncement) -> None:
    model = onnx_model.load(announced)
    data = dataset.load(own, seed=3)
    assert model.data_cutoff_ts_us == announced.data_cutoff_ts_us == data.data_cutoff_ts_us
    assert announced.promoted
    assert "no demonstrated edge" in announced.reason
    assert compare(model, RandomWalk(), data.validation) == announced.metrics
    assert announced.metrics["windows"] == len(data.validation.windows)


@pytest.mark.slow
def test_the_trained_model_keeps_the_laws(announced: ModelAnnouncement) -> None:
    model = onnx_model.load(announced)
    batch = windows(8)
    answer = model.forecast(batch)
    assert (np.diff(answer.quantiles, axis=2) > 0).all()
    alone = np.concatenate([model.forecast(batch.take([at])).quantiles for at in range(8)])
    np.testing.assert_allclose(answer.quantiles, alone, atol=1e-6)
    np.testing.assert_allclose(model.forecast(windows(8, price=0.003)).quantiles, answer.quantiles, atol=1e-6)


@pytest.mark.slow
def test_the_stored_graph_equals_the_stored_keras_model(announced: ModelAnnouncement) -> None:
    import keras  # noqa: PLC0415 - loads TensorFlow

    stored = registry.load(announced.uri, announced.sha256)
    network = keras.models.load_model(stored.folder / "model.keras", compile=False)
    batch = windows(16)
    expected = np.asarray(network(batch.features, training=False))[:, :, 0]
    scale = batch.scale[:, None] * np.sqrt(np.array(HORIZONS_MIN))
    np.testing.assert_allclose(onnx_model.load(announced).forecast(batch).mean / scale, expected, atol=1e-4)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(own: Settings, announced: ModelAnnouncement) -> None:
    again, other = (train(own, epochs=2, seed=seed, progress=False) for seed in (3, 4))
    first, second, third = (onnx_model.load(one).forecast(windows(3)).mean.tolist() for one in (announced, again, other))
    assert first == second != third
    assert again.model_id == announced.model_id


@pytest.mark.slow
def test_the_untrained_network_is_the_random_walk(own: Settings) -> None:
    from models.forecaster import recurrent  # noqa: PLC0415 - loads TensorFlow

    recurrent.prepare()
    data = dataset.load(own, seed=1).validation
    output = np.asarray(recurrent.build(dataset.load(own, seed=1).train.examples.scaler())(data.windows.features[:5]))
    np.testing.assert_allclose(output[:, :, 0], 0.0, atol=1e-6)
    np.testing.assert_allclose(output[:, :, 1:], np.broadcast_to(Z, output[:, :, 1:].shape), atol=1e-5)


@pytest.mark.slow
def test_a_feature_that_never_varied_is_muted_and_an_export_that_differs_is_refused(own: Settings, tmp_path: Path) -> None:
    import keras  # noqa: PLC0415 - loads TensorFlow

    from models.forecaster import recurrent  # noqa: PLC0415 - loads TensorFlow

    recurrent.prepare()
    scaler = dataset.load(own, seed=1).train.examples.scaler()
    muted = scaler | {"sentiment": (0.0, 0.0)}
    network = recurrent.build(muted)
    sample = windows(2).features
    loud = sample.copy()
    loud[:, :, 6] = 1.0
    hidden = keras.Model(network.input, network.get_layer(index=2).output)
    assert np.array_equal(np.asarray(hidden(sample)), np.asarray(hidden(loud)))
    with pytest.raises(ModelError, match="differs from Keras"):
        recurrent.write(network, muted, tmp_path, sample, tolerance=-1.0)


@pytest.mark.slow
def test_where_a_broker_is_the_training_tells_of_itself_and_announces(own: Settings, config: Settings) -> None:
    connected = msgspec.structs.replace(config, home=own.home)
    announced = train(connected, epochs=1, progress=False)
    told = [codec.decode(Event, record.value) for record in bus.read_all(config, "events")]
    assert [event.state for event in told] == ["training", "training", "done"]
    assert told[1].counts["epoch"] == 1
    (record,) = bus.read_all(config, "models")
    assert record.key == b"forecaster"
    assert codec.decode(ModelAnnouncement, record.value) == announced


def test_training_on_nothing_is_told_and_announces_nothing(config: Settings) -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        train(config, progress=False)
    states = [codec.decode(Event, record.value).state for record in bus.read_all(config, "events")]
    assert states == ["training", "failed"]
    assert list(bus.read_all(config, "models")) == []


def test_a_model_is_compared_with_itself_at_no_skill(tmp_path: Path) -> None:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path)
    fill(own, rows(1_500))
    metrics = compare(RandomWalk(), RandomWalk(), dataset.load(own, seed=1).validation)
    assert metrics["skill_mse"] == metrics["skill_pinball"] == 0.0
    assert 0.5 < metrics["covered_80_1m"] < 1.0
    assert "+0.0%" in verdict(metrics)


def test_serving_loads_no_tensorflow() -> None:
    script = "import sys, consumers.forecaster; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'torch')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
