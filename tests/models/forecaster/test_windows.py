from __future__ import annotations

import msgspec
import numpy as np
import pytest

from models.forecaster.windows import CLIP, FEATURES, PRIOR_SIGMA, SIGMA_FLOOR, WINDOW, Windows, ewma_sigma, raw_row
from tests.models.forecaster.samples import rows, windows


def test_features_are_finite_and_bounded_even_for_a_halted_symbol_that_jumps() -> None:
    halted = rows(50, scale=0.0)
    jumped = msgspec.structs.replace(halted[-1], close=900.0, high=900.0)
    batch = Windows.stack([[raw_row(row) for row in [*halted[:-1], jumped]], [raw_row(row) for row in halted]])
    assert batch.features.shape == (2, WINDOW, len(FEATURES))
    assert np.isfinite(batch.features).all()
    assert np.abs(batch.features).max() <= CLIP
    assert batch.sigma[1] == batch.scale[1] == SIGMA_FLOOR


def test_a_jump_moves_the_scale_less_than_the_volatility() -> None:
    market = rows(50)
    jumped = [msgspec.structs.replace(row, close=row.close * 1.01, high=row.high * 1.01) for row in market[40:]]
    calm, after = (Windows.stack([[raw_row(row) for row in some]]) for some in (market, market[:40] + jumped))
    assert after.scale[0] / calm.scale[0] < 1.7 < after.sigma[0] / calm.sigma[0]
    assert after.features[0, -1, FEATURES.index("turbulence")] > calm.features[0, -1, FEATURES.index("turbulence")] + 0.5


def test_volumes_and_prices_count_only_in_proportion() -> None:
    batch = windows(2)
    larger = batch.rows.copy()
    larger[:, :, :4] *= 4.0
    larger[:, :, 5:7] *= 4.0
    larger[:, :, 4] *= 1e-6
    np.testing.assert_allclose(Windows(larger).features, batch.features, atol=1e-5)


def test_a_market_twice_as_volatile_looks_the_same_to_a_model() -> None:
    calm, wild = (Windows.stack([[raw_row(row) for row in rows(50, scale=scale)]]) for scale in (2e-5, 2e-3))
    np.testing.assert_allclose(wild.features, calm.features, atol=0.05)  # moving averages are of prices, not of logs
    assert wild.sigma[0] == pytest.approx(100 * calm.sigma[0], rel=1e-6)


def test_volatility_begins_at_the_prior_and_forgets_it_in_a_full_window() -> None:
    assert ewma_sigma(np.zeros((1, 0)))[0] == pytest.approx(PRIOR_SIGMA)
    returns = np.full((1, WINDOW - 1), 0.01)
    assert ewma_sigma(returns)[0] == pytest.approx(0.01)
    shares = [ewma_sigma(returns[:, :n])[0] for n in range(1, WINDOW)]
    assert shares == sorted(shares)


def test_hashes_tell_windows_apart_and_do_not_depend_on_the_batch() -> None:
    batch = windows(3)
    assert len(set(batch.hashes())) == 3
    assert batch.take([1]).hashes() == batch.hashes()[1:2]
