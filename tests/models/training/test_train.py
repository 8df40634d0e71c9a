"""Training of the real network, on little: these load TensorFlow."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models import registry, tracking
from models.forecaster import onnx_model
from models.forecaster.base import HORIZONS_MIN
from models.forecaster.random_walk import RandomWalk, Z
from models.training import dataset, promotion
from models.training.job import Choice
from models.training.train import How, compare, train
from streams import bus, codec, settings
from streams.clock import MINUTE_US
from streams.errors import ModelError, UserError
from streams.messages import Event, ModelAnnouncement
from streams.settings import Settings
from tests.models.forecaster.samples import rows, windows
from tests.models.training.lakes import fill

QUIET = How(progress=False, ablation=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = msgspec.structs.replace(settings.load({}), home=tmp_path_factory.mktemp("home"), broker="")
    fill(made, rows(700), rows(700, "MSFT", seed=2))
    return made


@pytest.fixture(scope="module")
def announced(own: Settings) -> ModelAnnouncement:
    return train(own, Choice(epochs=2, seed=3), QUIET)


@pytest.mark.slow
def test_training_stores_a_model_that_serves_and_says_how_it_did_on_what_it_has_not_seen(
    own: Settings, announced: ModelAnnouncement
) -> None:
    model = onnx_model.load(announced)
    frame = dataset.final_rows(own)
    unseen = promotion.block(frame, model.data_cutoff_ts_us, int(frame["minute_ts_us"].max()) + MINUTE_US)  # type: ignore[arg-type]
    assert announced.data_cutoff_ts_us == model.data_cutoff_ts_us <= int(unseen.minutes.min())
    assert announced.promoted
    assert "promoted unchallenged" in announced.reason
    assert compare(model, RandomWalk(), unseen.part).items() <= announced.metrics.items()
    assert registry.champion(own, "forecaster") == registry.load(announced.uri, announced.sha256)


@pytest.mark.slow
def test_the_record_has_what_the_store_has(own: Settings, announced: ModelAnnouncement) -> None:
    (version,) = [one for one in tracking.versions(own, "forecaster") if one["model_id"] == announced.model_id]
    assert version["sha256.model.onnx"] == announced.sha256
    assert (version["promoted"], version["reason"]) == ("true", announced.reason)
    assert version["feature_version"] == "1"
    with tracking.client(own) as mlflow:
        (run,) = mlflow.search_runs([mlflow.get_experiment_by_name("forecaster").experiment_id], "params.seed = '3'")
        assert run.info.status == "FINISHED"
        assert run.data.params["epochs"] == "2"
        assert announced.metrics.items() <= run.data.metrics.items()
        kept = registry.losses(own, "forecaster", announced.model_id)
        assert kept is not None
        for name, losses in (("train_loss", kept.train), ("validation_loss", kept.validation)):
            assert [one.value for one in mlflow.get_metric_history(run.info.run_id, name)] == losses
            assert len(losses) == 2
        files = {one.path for one in mlflow.list_artifacts(run.info.run_id)}
        assert {"model", "loss.png", "scaler.json", "decision.json", "index.json"} <= files


@pytest.mark.slow
def test_trained_again_on_the_same_data_it_is_the_champion_already_and_nothing_is_recorded_twice(
    own: Settings, announced: ModelAnnouncement
) -> None:
    before = tracking.versions(own, "forecaster"), registry.promotions(own, "forecaster")
    again = train(own, Choice(epochs=2, seed=3), QUIET)
    # one training in some hundred has another id, see docs/training.md; it is then another model
    assert len(tracking.versions(own, "forecaster")) - len(before[0]) == (again.model_id != announced.model_id)
    assert registry.promotions(own, "forecaster") == before[1]


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
def test_what_sentiment_is_worth_is_reported(own: Settings) -> None:
    told = train(own, Choice(epochs=2, seed=3), msgspec.structs.replace(QUIET, ablation=True))
    assert "with sentiment it is not demonstrably different from without" in told.reason
    assert 0.05 < told.metrics["dm_p_vs_no_sentiment"] <= 1


@pytest.mark.slow
def test_another_seed_makes_a_challenger_that_must_beat_the_champion(own: Settings, announced: ModelAnnouncement) -> None:
    other = train(own, Choice(epochs=2, seed=4), msgspec.structs.replace(QUIET, shadow=True))
    assert other.model_id != announced.model_id
    assert (other.promoted, other.shadow) == (False, True)
    assert "not promoted" in other.reason
    champion = registry.champion(own, "forecaster")
    assert champion is not None
    assert champion.card.model_id == announced.model_id


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
    announced = train(connected, Choice(epochs=2, seed=3), QUIET)
    told = [codec.decode(Event, record.value) for record in bus.read_all(config, "events")]
    assert [event.state for event in told] == ["training", "training", "training", "done"]
    assert [event.counts["epoch"] for event in told[1:3]] == [1, 2]
    records = list(bus.read_all(config, "models"))
    assert [record.key for record in records] == [b"forecaster", b"forecaster:challenger"]
    assert [codec.decode(ModelAnnouncement, record.value) for record in records] == [announced, announced]


def test_training_on_nothing_is_told_and_announces_nothing(config: Settings) -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        train(config, how=QUIET)
    states = [codec.decode(Event, record.value).state for record in bus.read_all(config, "events")]
    assert states == ["training", "failed"]
    assert list(bus.read_all(config, "models")) == []


def test_a_model_is_compared_with_itself_at_no_skill(tmp_path: Path) -> None:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path)
    fill(own, rows(1_500))
    metrics = compare(RandomWalk(), RandomWalk(), dataset.load(own, seed=1).validation)
    assert metrics["skill_mse"] == metrics["skill_pinball"] == 0.0
    assert 0.5 < metrics["covered_80_1m"] < 1.0


def test_serving_loads_no_tensorflow() -> None:
    script = "import sys, consumers.forecaster; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'torch')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
def test_sums_in_bfloat16_make_a_model_that_is_served_in_float32_and_learns_as_much(own: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(own.home / "lake", home / "lake")
    shutil.copytree(own.home / "training" / "shards", home / "training" / "shards")
    mine = msgspec.structs.replace(own, home=home)
    rough = train(mine, Choice(epochs=2, seed=3, precision="bfloat16"), QUIET)
    exact = train(own, Choice(epochs=2, seed=3), QUIET)
    assert rough.model_id != exact.model_id
    assert rough.metrics["pinball_5m"] == pytest.approx(exact.metrics["pinball_5m"], rel=0.02)
    ours, theirs = (onnx_model.load(one).forecast(windows(5)).quantiles for one in (rough, exact))
    assert not np.array_equal(ours, theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0.2, atol=1e-4)


@pytest.mark.slow
def test_a_network_of_bfloat16_keeps_its_weights_and_its_head_in_float32(own: Settings) -> None:
    from models.forecaster import recurrent  # noqa: PLC0415 - loads TensorFlow

    recurrent.prepare()
    scaler = dataset.load(own, seed=1).train.examples.scaler()
    network = recurrent.build(scaler, precision="mixed_bfloat16")
    assert network.get_layer("recurrent").compute_dtype == "bfloat16"
    assert {str(variable.dtype) for variable in network.trainable_variables} == {"float32"}
    full = recurrent.in_full_precision(network, scaler)
    sample = windows(4).features
    assert full.get_layer("recurrent").compute_dtype == "float32"
    np.testing.assert_allclose(np.asarray(full(sample)), np.asarray(network(sample)), atol=0.05)
