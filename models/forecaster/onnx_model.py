"""A trained network served by ONNX Runtime: neither TensorFlow nor Keras is loaded here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models import registry
from models.forecaster.base import HORIZONS_MIN, QUANTILES, ROOT_HORIZON, Predictions, prob_up
from models.forecaster.windows import FEATURE_VERSION, FEATURES, WINDOW, Windows
from models.registry import ModelCard, StoredModel
from streams.errors import ModelError
from streams.messages import ModelAnnouncement

CHUNK = 24  # windows a run: what the layer's state and weights take then stays in a core's own cache
BLOCK = 8 * CHUNK  # windows whose features are made at once: they stay in the core's cache, too
MOST_THREADS = 8
PARTS = tuple(part.name for part in fields(Predictions))


class OnnxForecaster:
    """A stored network: features [N, 50, F] to [N, H, 1 + Q], the mean and the quantiles in units of scale sqrt(h).

    Each run has one thread and at most :data:`CHUNK` windows; larger batches are as many runs, at once on all cores. So
    what a window gets never depends on how many cores there are.

    Raises
    ------
    ModelError
        The model expects other features, horizons or quantiles, or ONNX Runtime cannot open it.
    """

    def __init__(self, stored: StoredModel) -> None:
        _check_card(stored.card)
        self._stored = stored.card
        try:
            self._graph = stored.served.read_bytes()
            self._session = session(self._graph)
        except Exception as error:  # ONNX Runtime's own errors share no base class
            raise ModelError(f"ONNX Runtime cannot open {stored.served} ({error}); train again") from error
        self._input: str = self._session.get_inputs()[0].name
        self.model_id = stored.card.model_id
        self.minimum_bars = stored.card.window
        self.data_cutoff_ts_us = stored.card.data_cutoff_ts_us

    def forecast(self, windows: Windows) -> Predictions:
        """Return the forecasts of `windows`, which are full."""
        if len(windows) <= BLOCK:
            return _scaled(windows, self.run(windows.features))
        # while the network runs on one block, what it sees of the next is made
        begun = [(block, self._begun(block.features)) for block in map(windows.take, _slices(len(windows), BLOCK))]
        answers = [_scaled(block, np.concatenate(list(chunks))) for block, chunks in begun]
        return Predictions(*(np.concatenate([getattr(answer, name) for answer in answers]) for name in PARTS))

    def run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network says of `features`, in units of scale sqrt(h)."""
        return self._run(features) if len(features) <= CHUNK else np.concatenate(list(self._begun(features)))

    def _begun(self, features: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Start all runs on `features`; the iterator waits for what each of them says."""
        return _threads().map(self._run, map(features.__getitem__, _slices(len(features), CHUNK)))

    def _run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = self._session.run(None, {self._input: features})[0]
        return answer

    def save(self, folder: Path) -> None:
        """Write the graph and its card into `folder`, from where :func:`opened` reads them."""
        (folder / registry.SERVED).write_bytes(self._graph)
        (folder / registry.CARD).write_bytes(msgspec.json.encode(self._stored))


def _scaled(windows: Windows, raw: NDArray[np.float32]) -> Predictions:
    """Return what the network says of `windows` in log returns."""
    scaled = raw.astype(np.float64) * (windows.scale[:, None] * ROOT_HORIZON)[:, :, None]
    quantiles = scaled[:, :, 1:]
    return Predictions(scaled[:, :, 0], quantiles, prob_up(quantiles))


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(at, at + size) for at in range(0, count, size))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1), thread_name_prefix="onnx")


def session(graph: bytes) -> Any:
    """Return a session of ONNX Runtime for `graph` that keeps to the thread which runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


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


def opened(folder: Path) -> OnnxForecaster:
    """Return the model that :meth:`OnnxForecaster.save` wrote.

    Raises
    ------
    ModelError
        Missing, damaged, or made for other features.
    """
    stored = registry.load(folder.resolve().as_uri(), registry.read_card(folder).sha256)
    return OnnxForecaster(stored)
