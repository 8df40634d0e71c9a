"""The network in torch, and its training. Import it where it is used: torch takes seconds.

Two stacked LSTM layers of 64 with dropout and a linear head read four months of [return, sentiment], both scaled
(`scaling.py`), and say the scaled return of the month to come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.outlook.months import Array

UNITS = 64
LAYERS = 2
DROPOUT = 0.2
RATE = 1e-3
DECAY = 1e-4
BATCH = 64
EPOCHS = 120
PATIENCE = 10
PASSES = 50  # of dropout at forecasting

Weights = Mapping[str, NDArray[Any]]  # by name, as torch names them


class Network(torch.nn.Module):  # type: ignore[misc] # torch is not type-checked here
    """[n, months, 2] to [n]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(2, UNITS, LAYERS, batch_first=True, dropout=DROPOUT)
        self.dropout = torch.nn.Dropout(DROPOUT)
        self.head = torch.nn.Linear(UNITS, 1)

    def forward(self, months: Any) -> Any:
        """Return the scaled return of the month to come, of each row."""
        states, _ = self.lstm(months)
        return self.head(self.dropout(states[:, -1])).squeeze(-1)


@dataclass(frozen=True)
class Part:
    """Scaled samples: [n, months, 2] and [n]."""

    inputs: Array
    targets: Array


@dataclass(frozen=True)
class Fit:
    """What a training left: the weights of its best epoch, and the losses of every epoch (training, validation)."""

    weights: Weights
    losses: tuple[tuple[float, float], ...]

    @property
    def epochs(self) -> int:
        """How many epochs the kept weights had."""
        return 1 + int(np.argmin([checked for _, checked in self.losses]))


def train(known: Part, checked: Part, seed: int, epochs: int = EPOCHS) -> Fit:
    """Fit a network by Adam on squared errors, until `checked` has not been better for :data:`PATIENCE` epochs.

    The same seed gives the same weights on the same machine; the state of torch's own random numbers is left as it was.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # so small a network is slower on more
        network = Network()
        return _descend(network, _tensors(known), _tensors(checked), epochs)


def answers(weights: Sequence[Weights], inputs: Array) -> Array:
    """Return what each of the networks says of `inputs` [n, months, 2], without dropout: [networks, n]."""
    with torch.inference_mode():
        return np.stack([_loaded(one).eval()(_tensor(inputs)).double().numpy() for one in weights])


def dropout_answers(weights: Weights, inputs: Array, seed: int, passes: int = PASSES) -> Array:
    """Return what one network says with other parts of it dropped each time (Gal and Ghahramani, 2016): [passes, n]."""
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        many = _tensor(inputs).repeat(passes, 1, 1)
        said: Array = _loaded(weights).train()(many).double().numpy().reshape(passes, len(inputs))
        return said


def _descend(network: Network, known: tuple[Any, Any], checked: tuple[Any, Any], epochs: int) -> Fit:
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, weight_decay=DECAY)
    losses: list[tuple[float, float]] = []
    best, kept = np.inf, _copied(network)
    for epoch in range(epochs):
        losses.append((_epoch(network, optimizer, *known), _loss(network, *checked)))
        if losses[-1][1] < best:
            best, kept, since = losses[-1][1], _copied(network), epoch
        elif epoch - since >= PATIENCE:
            break
    return Fit(kept, tuple(losses))


def _epoch(network: Network, optimizer: Any, inputs: Any, targets: Any) -> float:
    network.train()
    total = 0.0
    for rows in torch.randperm(len(inputs)).split(BATCH):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(network(inputs[rows]), targets[rows])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return total / len(inputs)


def _loss(network: Network, inputs: Any, targets: Any) -> float:
    network.eval()
    with torch.inference_mode():
        return float(torch.nn.functional.mse_loss(network(inputs), targets))


def _copied(network: Network) -> Weights:
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


def _loaded(weights: Weights) -> Network:
    network = Network()
    network.load_state_dict({name: torch.as_tensor(values) for name, values in weights.items()})
    return network


def _tensors(part: Part) -> tuple[Any, Any]:
    return _tensor(part.inputs), _tensor(part.targets)


def _tensor(values: Array) -> Any:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
