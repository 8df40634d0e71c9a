"""Recipes of recurrent networks: train, compare with Keras, serve by ONNX Runtime. TensorFlow is loaded by `fit` alone."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from models import registry
from models.forecaster import onnx_model, recurrent_graph
from models.forecaster.base import HORIZONS_MIN, QUANTILES, Effort
from models.forecaster.onnx_model import OnnxForecaster
from models.forecaster.recurrent_graph import Cell, Weights
from models.forecaster.windows import FEATURE_VERSION, FEATURES, WINDOW, Array
from models.registry import ModelCard, StoredModel
from models.training.dataset import Dataset

NAME = "forecaster"  # of all such models together, in the store and on `models`
SEEDS = 10  # a network takes a few seeds one after another
CHECKED = 256  # windows on which Keras and the graph must agree
DROPOUT_SAMPLED = 0.2  # of the hidden units, as in training


@dataclass(frozen=True)
class Recurrent:
    """A network of one recurrent layer.

    Parameters
    ----------
    members : int
        Networks, of seeds one after another, whose forecasts are averaged (quantile by quantile).
    samples : int
        Of Monte Carlo dropout, see :func:`models.forecaster.recurrent_graph.build`; 0: none.
    """

    name: str
    summary: str
    cell: Cell
    members: int = 1
    samples: int = 0

    def fit(self, data: Dataset, seed: int, effort: Effort) -> OnnxForecaster:
        """Return the trained network, served as it will be live."""
        scaler = data.train.examples.scaler()
        trained = [self._member(data, scaler, seed + number, effort) for number in range(self.members)]
        graph = recurrent_graph.build(trained, _masks(trained[0].units, self.samples, seed))
        return served(graph, card(data, seed), self.name)

    def load(self, folder: Path) -> OnnxForecaster:
        """Return what was saved in `folder`."""
        return onnx_model.opened(folder)

    def _member(self, data: Dataset, scaler: dict[str, tuple[float, float]], seed: int, effort: Effort) -> Weights:
        from models.forecaster import recurrent  # noqa: PLC0415 - seconds of TensorFlow

        network = trained(data, seed, effort, self.cell)
        weights = recurrent.weights(network, scaler)
        recurrent.check(network, recurrent_graph.build([weights]), data.validation.windows.features[:CHECKED])
        return weights


def trained(data: Dataset, seed: int, effort: Effort, cell: Cell = "LSTM") -> Any:
    """Return a Keras network trained on `data`."""
    from models.forecaster import recurrent  # noqa: PLC0415 - seconds of TensorFlow
    from models.training import loop  # noqa: PLC0415

    recurrent.prepare()
    scaler = data.train.examples.scaler()
    trainer = loop.Trainer(
        lambda: recurrent.build(scaler, cell, seed=SEEDS * seed),
        loop.Plan(effort.epochs, min(loop.Plan.batch, len(data.train.windows))),
    )
    trainer.fit(
        loop.of_arrays(data.train.windows.features, data.train.examples.scaled, seed),
        (data.validation.windows.features, data.validation.examples.scaled),
        tell=lambda history: effort.tell(len(history.train)),
    )
    return trainer.network


def card(data: Dataset, seed: int) -> ModelCard:
    """Return the card of a network trained on `data`, yet without id, files and metrics."""
    return card_of(data.data_cutoff_ts_us, seed, data.train.examples.scaler())


def card_of(data_cutoff_ts_us: int, seed: int, scaler: dict[str, tuple[float, float]]) -> ModelCard:
    """Return the card of a network of these features, yet without id, files and metrics."""
    return ModelCard(
        name=NAME,
        feature_version=FEATURE_VERSION,
        features=FEATURES,
        window=WINDOW,
        horizons_min=HORIZONS_MIN,
        quantiles=QUANTILES,
        data_cutoff_ts_us=data_cutoff_ts_us,
        seed=seed,
        scaler=scaler,
    )


def served(graph: bytes, card: ModelCard, prefix: str) -> OnnxForecaster:
    """Return the forecaster of `graph`; its id is `prefix` and the start of the graph's checksum."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / registry.SERVED
        path.write_bytes(graph)
        digest = registry.checksum(path)
        named = msgspec.structs.replace(card, model_id=f"{prefix}-{digest[:8]}", files={registry.SERVED: digest})
        return OnnxForecaster(StoredModel(path.parent, named))


def _masks(units: int, samples: int, seed: int) -> Array | None:
    """Return factors of hidden units, [S, U]: 0 for those left out, the others in return larger."""
    if samples == 0:
        return None
    kept = np.random.default_rng(seed).random((samples, units)) >= DROPOUT_SAMPLED
    masks: Array = kept / (1.0 - DROPOUT_SAMPLED)
    return masks
