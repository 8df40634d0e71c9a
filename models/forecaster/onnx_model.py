"""A trained network served by ONNX Runtime: neither TensorFlow nor Keras is loaded here."""

from __future__ import annotations

import numpy as np
import onnxruntime

from models import registry
from models.forecaster.base import HORIZONS_MIN, QUANTILES, ROOT_HORIZON, Predictions, prob_up
from models.forecaster.windows import FEATURE_VERSION, FEATURES, WINDOW, Windows
from models.registry import ModelCard, StoredModel
from streams.errors import ModelError
from streams.messages import ModelAnnouncement


class OnnxForecaster:
    """A stored network: features [N, 50, F] to [N, H, 1 + Q], the mean and the quantiles in units of scale sqrt(h).

    One thread a call: a window takes a fraction of a millisecond, and results must not depend on how work was split.

    Raises
    ------
    ModelError
        The model expects other features, horizons or quantiles, or ONNX Runtime cannot open it.
    """

    def __init__(self, stored: StoredModel) -> None:
        _check_card(stored.card)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(stored.served, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors share no base class
            raise ModelError(f"ONNX Runtime cannot open {stored.served} ({error}); train again") from error
        self._input: str = self._session.get_inputs()[0].name
        self.model_id = stored.card.model_id
        self.minimum_bars = stored.card.window
        self.data_cutoff_ts_us = stored.card.data_cutoff_ts_us

    def forecast(self, windows: Windows) -> Predictions:
        """Return the forecasts of `windows`, which are full."""
        raw = self._session.run(None, {self._input: windows.features})[0].astype(np.float64)
        scaled = raw * (windows.scale[:, None] * ROOT_HORIZON)[:, :, None]
        quantiles = scaled[:, :, 1:]
        return Predictions(scaled[:, :, 0], quantiles, prob_up(quantiles))


def _check_card(card: ModelCard) -> None:
    ours = (FEATURE_VERSION, FEATURES, WINDOW, HORIZONS_MIN, QUANTILES)
    theirs = (card.feature_version, card.features, card.window, card.horizons_min, card.quantiles)
    if ours != theirs:
        raise ModelError(
            f"model {card.model_id} was made for features version {card.feature_version}, or other horizons or quantiles;"
            f" this program has version {FEATURE_VERSION}: train again"
        )


def load(announcement: ModelAnnouncement) -> OnnxForecaster:
    """Return the announced model, its files checked.

    Raises
    ------
    ModelError
        Missing, damaged, or made for other features.
    """
    return OnnxForecaster(registry.load(announcement.uri, announcement.sha256))
