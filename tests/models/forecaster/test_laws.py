"""Laws that every forecaster keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.forecaster import onnx_model
from models.forecaster.base import HORIZONS_MIN, LEVELS, QUANTILES, Forecaster, Maker, prob_up, to_messages
from models.forecaster.onnx_model import OnnxForecaster
from models.forecaster.random_walk import RandomWalk
from models.forecaster.windows import Windows, raw_row
from streams import codec, settings
from streams.messages import Forecast
from tests.models.forecaster.samples import rows, stored_onnx, windows


@pytest.fixture(params=["random walk", "onnx"])
def forecaster(request: pytest.FixtureRequest, tmp_path: Path) -> Forecaster:
    if request.param == "random walk":
        return RandomWalk()
    own = msgspec.structs.replace(settings.load({}), home=tmp_path)
    return OnnxForecaster(stored_onnx(own, tmp_path / "made"))


def test_the_shapes_are_windows_by_horizons_by_quantiles(forecaster: Forecaster) -> None:
    answer = forecaster.forecast(windows(4))
    assert answer.mean.shape == answer.prob_up.shape == (4, len(HORIZONS_MIN))
    assert answer.quantiles.shape == (4, len(HORIZONS_MIN), len(QUANTILES))


def test_quantiles_are_ordered_and_probabilities_are_probabilities(forecaster: Forecaster) -> None:
    answer = forecaster.forecast(windows(20))
    assert (np.diff(answer.quantiles, axis=2) >= 0).all()
    assert ((answer.prob_up >= 0) & (answer.prob_up <= 1)).all()


def test_equal_windows_give_equal_bits(forecaster: Forecaster) -> None:
    first, second = forecaster.forecast(windows(3)), forecaster.forecast(windows(3))
    assert first.quantiles.tobytes() == second.quantiles.tobytes()
    assert first.mean.tobytes() == second.mean.tobytes()


def test_a_batch_answers_as_one_by_one_does(forecaster: Forecaster) -> None:
    batch = windows(8)
    together = forecaster.forecast(batch)
    alone = [forecaster.forecast(batch.take(slice(at, at + 1))) for at in range(8)]
    np.testing.assert_allclose(together.mean, np.concatenate([one.mean for one in alone]), atol=1e-6)
    np.testing.assert_allclose(together.quantiles, np.concatenate([one.quantiles for one in alone]), atol=1e-6)


@pytest.mark.parametrize("price", [0.0003, 7.0, 250_000.0])
def test_the_level_of_the_price_changes_nothing(forecaster: Forecaster, price: float) -> None:
    expected, found = forecaster.forecast(windows(3)), forecaster.forecast(windows(3, price=price))
    np.testing.assert_allclose(found.quantiles, expected.quantiles, atol=1e-8)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-8)


def test_messages_are_valid_and_their_ids_say_what_they_are(forecaster: Forecaster) -> None:
    row = rows(50)[-1]
    answer = forecaster.forecast(windows(1))
    for provisional in (False, True):
        messages = to_messages(row, answer, 0, Maker(forecaster, "champion", provisional), "hash")
        for message, horizon_min in zip(messages, HORIZONS_MIN, strict=True):
            assert codec.decode(Forecast, codec.encode(message)) == message
            suffix = ":p10" if provisional else ""
            assert message.forecast_id == f"AAPL:{row.minute_ts_us}:{horizon_min}:{forecaster.model_id}{suffix}"
            assert message.target_ts_us - row.minute_ts_us == (1 + horizon_min) * 60_000_000
            assert list(message.quantiles.values()) == sorted(message.quantiles.values())


def test_prices_stay_within_the_contract_whatever_a_model_says() -> None:
    row = msgspec.structs.replace(rows(1)[-1], close=9.9e11)
    answer = RandomWalk().forecast(windows(1))
    extreme = dataclasses.replace(answer, quantiles=answer.quantiles * 1e9)
    for message in to_messages(row, extreme, 0, Maker(RandomWalk(), "baseline", provisional=False), ""):
        assert codec.decode(Forecast, codec.encode(message)) == message


def test_the_random_walk_works_from_the_first_bar() -> None:
    answer = RandomWalk().forecast(Windows.stack([[raw_row(rows(1)[0])]]))
    assert answer.mean.tolist() == [[0.0, 0.0, 0.0]]
    assert answer.prob_up.tolist() == [[0.5, 0.5, 0.5]]
    np.testing.assert_allclose(answer.quantiles[0, 1], answer.quantiles[0, 0] * np.sqrt(5))


def test_the_random_walk_covers_what_it_promises() -> None:
    many = Windows.stack([[raw_row(row) for row in rows(51, seed=seed)] for seed in range(800)])
    seen = Windows(many.rows[:, :50])
    realised = many.returns[:, -1]
    answer = RandomWalk().forecast(seen)
    covered = ((answer.quantiles[:, 0, 1] <= realised) & (realised <= answer.quantiles[:, 0, 5])).mean()
    assert 0.74 < covered < 0.84  # 80 % less what estimating sigma from a short memory costs; 3 standard errors


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.5), (10.0, 0.975), (-10.0, 0.025), (-0.6744897501960817, 0.25)])
def test_the_probability_of_rising_is_read_off_the_quantiles(shift: float, expected: float) -> None:
    gaussian = RandomWalk().forecast(windows(1)).quantiles
    scale = gaussian[0, 0, LEVELS.tolist().index(0.75)] / 0.6744897501960817
    found = prob_up(gaussian + shift * scale * np.sqrt(np.array([1, 5, 15]))[:, None])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_stored_model_answers_as_before_it_was_stored(tmp_path: Path) -> None:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path)
    stored = stored_onnx(own, tmp_path / "made")
    again = onnx_model.load(stored.announcement(promoted=True, reason="test"))
    expected = OnnxForecaster(stored).forecast(windows(2))
    assert again.forecast(windows(2)).quantiles.tobytes() == expected.quantiles.tobytes()
    assert (again.model_id, again.data_cutoff_ts_us) == (stored.card.model_id, 123)
