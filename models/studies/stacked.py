"""Several small recurrent networks, which differ in their seed alone, trained at once as one stack. Importing loads TensorFlow.

A network of 32 units spends its time in calling operations, not in computing: with a leading axis for the seeds one call does
for all of them, at nearly the price of one. The sums, first weights and Adam are those of Keras's `LSTM` and `SimpleRNN`
(the tests compare them), and no seed sees anything of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.forecaster.recurrent import keras, tf

Cell = Literal["RNN", "LSTM"]
Samples = NDArray[np.float32]
Tell = Callable[[int], None]
GATES: dict[Cell, int] = {"RNN": 1, "LSTM": 4}


class Plan(NamedTuple):
    """Which networks, and how they are trained; `rate` is Adam's."""

    cell: Cell
    seeds: tuple[int, ...]
    epochs: int
    units: int = 32
    layers: int = 2
    batch: int = 32
    rate: float = 1e-3


class Trained(NamedTuple):
    """Forecasts of the windows looked at, [S, M]: after the last epoch, and after those of the least loss on each part of them.

    `losses` are the mean squared errors by epoch, [S, E], in training and on each part.
    """

    last: Samples
    best: dict[str, Samples]
    losses: dict[str, NDArray[np.float64]]


class Stack:
    """The networks: windows [S, B, T, F] to forecasts [S, B]."""

    def __init__(self, plan: Plan, features: int) -> None:
        self._lstm, self._units = plan.cell == "LSTM", plan.units
        widths = [features, *[plan.units] * (plan.layers - 1)]
        made = [_first_weights(plan, widths, seed) for seed in plan.seeds]
        self.variables = [tf.Variable(np.stack(values)) for values in zip(*made, strict=True)]

    def __call__(self, windows: Any) -> Any:
        """Return the forecasts."""
        steps = tf.unstack(windows, axis=2)
        *layers, head, bias = self.variables
        for at in range(0, len(layers), 3):
            steps = self._layer(steps, *layers[at : at + 3])
        return (steps[-1] @ head + bias[:, None, :])[:, :, 0]

    def _layer(self, steps: list[Any], kernel: Any, recurrent: Any, bias: Any) -> list[Any]:
        hidden = state = tf.zeros([*tf.unstack(tf.shape(steps[0]))[:2], self._units])
        out = []
        for step in steps:
            sums = step @ kernel + hidden @ recurrent + bias[:, None, :]
            if self._lstm:
                entry, forget, cell, output = tf.split(sums, 4, axis=2)
                state = tf.sigmoid(forget) * state + tf.sigmoid(entry) * tf.tanh(cell)
                hidden = tf.sigmoid(output) * tf.tanh(state)
            else:
                hidden = tf.tanh(sums)
            out.append(hidden)
        return out


def _first_weights(plan: Plan, widths: Sequence[int], seed: int) -> list[Samples]:
    """Return kernel, recurrent kernel and bias of each layer, then of the head, as Keras begins them."""
    gates, units = GATES[plan.cell], plan.units
    values: list[Samples] = []
    for number, width in enumerate(widths):
        own = 10 * seed + 2 * number
        values.append(np.asarray(keras.initializers.GlorotUniform(own)((width, gates * units))))
        values.append(np.asarray(keras.initializers.Orthogonal(seed=own + 1)((units, gates * units))))
        bias = np.zeros(gates * units, dtype=np.float32)
        bias[units : 2 * units] = 1.0 if plan.cell == "LSTM" else 0.0  # of the forget gate (Jozefowicz et al., 2015)
        values.append(bias)
    values.append(np.asarray(keras.initializers.GlorotUniform(10 * seed + 9)((units, 1))))
    return [*values, np.zeros(1, dtype=np.float32)]


def train(plan: Plan, train: tuple[Samples, Samples], looked_at: dict[str, tuple[Samples, Samples]], tell: Tell) -> Trained:
    """Train the networks on `train`, windows [N, T, F] and targets [N]; `looked_at` are other parts of the same shapes.

    The forecasts that are returned are of all parts looked at, one after another; nothing is learnt from them, but `best`
    is chosen by them.
    """
    tf.config.experimental.enable_op_determinism()
    stack = Stack(plan, train[0].shape[2])
    run = _Run(plan, stack, *train)
    others = np.concatenate([windows for windows, _ in looked_at.values()])
    ends = np.cumsum([len(targets) for _, targets in looked_at.values()])[:-1]
    losses: dict[str, list[Any]] = {name: [] for name in ("train", *looked_at)}
    best: dict[str, Samples] = {}
    for epoch in range(plan.epochs):
        losses["train"].append(run.epoch(epoch))
        said = run.forecasts(others)
        for (name, (_, came)), own in zip(looked_at.items(), np.split(said, ends, axis=1), strict=True):
            losses[name].append(((own.astype(np.float64) - came) ** 2).mean(axis=1))
            least = np.min(losses[name], axis=0) == losses[name][-1]
            best[name] = np.where(least[:, None], said, best.get(name, said))
        tell(epoch + 1)
    return Trained(said, best, {name: np.stack(values, axis=1) for name, values in losses.items()})


class _Run:
    """A stack in training."""

    def __init__(self, plan: Plan, stack: Stack, windows: Samples, targets: Samples) -> None:
        self._plan, self._stack = plan, stack
        self._windows, self._targets = tf.constant(windows), tf.constant(targets)
        self._optimizer = keras.optimizers.Adam(plan.rate)
        self._variables = [keras.Variable(value.numpy()) for value in stack.variables]
        stack.variables = [variable.value for variable in self._variables]
        self._optimizer.build(self._variables)
        self._epoch = tf.function(self._steps)
        self._forward = tf.function(
            lambda windows: stack(tf.repeat(windows[None], len(plan.seeds), axis=0)), reduce_retracing=True
        )

    def epoch(self, number: int) -> NDArray[np.float64]:
        """Take the steps of one epoch, each seed in an order of its own; return the mean loss of each seed, [S]."""
        count = len(self._targets)
        orders = [np.random.default_rng((seed, number)).permutation(count) for seed in self._plan.seeds]
        whole = count // self._plan.batch * self._plan.batch
        batches = np.stack(orders)[:, :whole].reshape(len(orders), -1, self._plan.batch).transpose(1, 0, 2)
        return np.asarray(self._epoch(tf.constant(batches)), dtype=np.float64)

    def forecasts(self, windows: Samples) -> Samples:
        """Return the forecasts of all seeds, [S, M]."""
        return np.asarray(self._forward(tf.constant(windows)))

    def _steps(self, batches: Any) -> Any:
        total = tf.zeros([len(self._plan.seeds)])
        for batch in batches:
            total += self._step(tf.gather(self._windows, batch), tf.gather(self._targets, batch))
        return total / tf.cast(tf.shape(batches)[0], tf.float32)

    def _step(self, windows: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            each = tf.reduce_mean((self._stack(windows) - targets) ** 2, axis=1)
            loss = tf.reduce_sum(each)  # of seeds that share no weight: the gradient of each is its own
        gradients = tape.gradient(loss, self._stack.variables)
        self._optimizer.apply(gradients, self._variables)
        return each
