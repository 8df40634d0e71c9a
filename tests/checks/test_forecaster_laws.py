"""Laws that every forecaster of the catalogue keeps, freshly fitted on little."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.forecaster.base import HORIZONS_MIN, QUANTILES, Effort, Fitted
from models.forecaster.catalog import CATALOG, NAIVE, chosen
from models.forecaster.windows import Windows
from models.training import dataset
from models.training.dataset import Dataset
from streams import settings
from streams.errors import ModelError, SettingsError
from tests.models.forecaster.samples import rows, windows
from tests.models.training.lakes import fill

SEED = 5
TRAINED = {name for name in CATALOG if name != NAIVE}
SEEDED = {"lstm", "rnn"}
NETWORKS = {"lstm", "lstm-mc", "lstm-ensemble", "rnn"}
pytestmark = pytest.mark.slow

Fit = Callable[[int], Fitted]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path_factory.mktemp("home"))
    fill(own, rows(500), rows(500, "MSFT", seed=2))
    return dataset.load(own, seed=1)


@pytest.fixture(scope="module", params=list(CATALOG))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def fit(name: str, data: Dataset) -> Fit:
    return cache(lambda seed: CATALOG[name].fit(data, seed, Effort(epochs=1)))


@pytest.fixture
def model(fit: Fit) -> Fitted:
    return fit(SEED)


def test_the_shapes_are_windows_by_horizons_by_quantiles(model: Fitted) -> None:
    answer = model.forecast(windows(4))
    assert answer.mean.shape == answer.prob_up.shape == (4, len(HORIZONS_MIN))
    assert answer.quantiles.shape == (4, len(HORIZONS_MIN), len(QUANTILES))
    assert all(np.isfinite(part).all() for part in (answer.mean, answer.quantiles, answer.prob_up))


def test_quantiles_are_ordered_and_probabilities_are_probabilities(model: Fitted) -> None:
    answer = model.forecast(windows(30))
    assert (np.diff(answer.quantiles, axis=2) > 0).all()
    assert ((answer.prob_up > 0) & (answer.prob_up < 1)).all()


def test_intervals_widen_with_the_horizon(model: Fitted) -> None:
    answer = model.forecast(windows(30))
    widths = (answer.quantiles[:, :, -1] - answer.quantiles[:, :, 0]).mean(axis=0)
    assert (np.diff(widths) > 0).all()


def test_a_forecast_is_a_pure_function_of_its_windows(model: Fitted) -> None:
    batch = windows(3)
    before = batch.rows.copy()
    first, second = model.forecast(batch), model.forecast(windows(3))
    assert first.quantiles.tobytes() == second.quantiles.tobytes()
    assert first.mean.tobytes() == second.mean.tobytes()
    assert batch.rows.tobytes() == before.tobytes()


def test_the_same_seed_fits_the_same_model(name: str, data: Dataset, model: Fitted) -> None:
    """To the last bits of float32: about one training in some hundred differed in its id, why is not known."""
    again = CATALOG[name].fit(data, SEED, Effort(epochs=1))
    found, expected = again.forecast(windows(3)), model.forecast(windows(3))
    np.testing.assert_allclose(found.quantiles, expected.quantiles, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-4, atol=1e-9)
    if name not in NETWORKS:
        assert again.model_id == model.model_id


def test_another_seed_makes_another_network(name: str, fit: Fit) -> None:
    if name in SEEDED:
        assert fit(SEED + 1).model_id != fit(SEED).model_id


def test_saved_and_loaded_it_answers_as_before(name: str, model: Fitted, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = CATALOG[name].load(tmp_path)
    for kept, made in zip(_parts(loaded), _parts(model), strict=True):
        assert kept.tobytes() == made.tobytes()
    assert (loaded.model_id, loaded.minimum_bars) == (model.model_id, model.minimum_bars)
    assert loaded.data_cutoff_ts_us == model.data_cutoff_ts_us


def test_a_damaged_file_is_refused(name: str, model: Fitted, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert bool(list(tmp_path.iterdir())) == (name in TRAINED)
    for path in tmp_path.iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelError):
            CATALOG[name].load(tmp_path)
        path.write_bytes(whole)


def test_a_model_for_other_features_is_refused(name: str, model: Fitted, tmp_path: Path) -> None:
    model.save(tmp_path)
    for path in tmp_path.glob("*.json"):
        path.write_bytes(path.read_bytes().replace(b'"feature_version":1', b'"feature_version":999'))
        with pytest.raises(ModelError, match=r"other features|features version 999"):
            CATALOG[name].load(tmp_path)


@pytest.mark.parametrize("price", [0.0003, 7.0, 250_000.0])
def test_the_level_of_the_price_changes_nothing(model: Fitted, price: float) -> None:
    expected, found = model.forecast(windows(3)), model.forecast(windows(3, price=price))
    np.testing.assert_allclose(found.quantiles, expected.quantiles, atol=1e-8)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-8)


def test_a_batch_answers_as_one_by_one_does(model: Fitted) -> None:
    batch = windows(60)
    together = model.forecast(batch)
    alone = [model.forecast(batch.take([at])) for at in range(60)]
    np.testing.assert_allclose(together.quantiles, np.concatenate([one.quantiles for one in alone]), atol=1e-7)
    np.testing.assert_allclose(together.mean, np.concatenate([one.mean for one in alone]), atol=1e-7)


def test_what_stands_elsewhere_in_the_batch_changes_nothing(model: Fitted) -> None:
    batch, other = windows(40), windows(40)
    other.rows[20:] = other.rows[20:, ::-1]
    np.testing.assert_array_equal(model.forecast(batch).quantiles[:20], model.forecast(Windows(other.rows)).quantiles[:20])


def test_it_says_how_far_its_data_went(name: str, model: Fitted, data: Dataset) -> None:
    assert model.data_cutoff_ts_us == (data.data_cutoff_ts_us if name in TRAINED else 0)


def test_a_market_that_stood_still_gets_a_forecast(model: Fitted) -> None:
    answer = model.forecast(Windows(np.repeat(windows(2).rows[:, :1], 50, axis=1)))
    assert np.isfinite(answer.quantiles).all()
    assert (np.diff(answer.quantiles, axis=2) > 0).all()


def test_the_naive_model_is_always_among_the_chosen() -> None:
    assert [recipe.name for recipe in chosen(["garch", "garch"])] == [NAIVE, "garch"]
    with pytest.raises(SettingsError, match="no forecaster 'arima'"):
        chosen(["arima"])


def _parts(model: Fitted) -> tuple[np.ndarray, ...]:
    answer = model.forecast(windows(3))
    return answer.mean, answer.quantiles, answer.prob_up
