"""The training loop: one definition for one device, for all devices of a machine, and for several workers. Loads TensorFlow.

Keras's own `fit` fails under `MultiWorkerMirroredStrategy`, so the loop is written out: every replica takes its share of a
global batch, gradients are summed over all replicas, then clipped, and every replica takes the same step. Which windows are in
a batch depends on the seed and the epoch alone, never on how many replicas share it, so that strategies differ in nothing but
the order of a sum.

After each epoch everything that the next one depends on goes into a checkpoint: a training that was killed goes on from there
to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.forecaster.recurrent import keras, losses, tf
from models.training.checkpoint import Checkpoint
from streams.errors import ModelError

Samples = NDArray[np.float32]
Examples = Callable[[int], Any]
"""Epoch number to a `tf.data.Dataset` of single (features [T, F], targets), in an order that the seed gives."""

FORWARD = 1_024  # windows in one call of the network where nothing is learnt


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    Parameters
    ----------
    epochs : int
        At most so many.
    batch : int
        Windows of one step, over all replicas.
    patience : int
        Epochs without a better validation before the training ends.
    rate, clip : float
        Adam's learning rate, and the norm to which each variable's gradient is cut.
    """

    epochs: int
    batch: int = 256
    patience: int = 2
    rate: float = 1e-3
    clip: float = 1.0


@dataclass
class History:
    """The mean training loss and the validation loss of each epoch."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The number of the epoch with the least validation loss."""
        return int(np.argmin(self.validation))

    def is_over(self, plan: Plan) -> bool:
        """Return whether there is nothing more to do."""
        done = len(self.validation)
        return done >= plan.epochs or (done > 0 and done - 1 - self.best >= plan.patience)


Tell = Callable[[History], None]


def _silent(_history: History) -> None:
    """Tell nobody."""


class Trainer:
    """Trains one network.

    Parameters
    ----------
    make : Callable[[], keras.Model]
        Makes the untrained network, the same each time.
    plan : Plan
        How.
    strategy : tf.distribute.Strategy | None
        On what; None: on one device.
    loss : Callable
        Of each window, [N], by its target and the network's output.
    """

    def __init__(
        self, make: Callable[[], Any], plan: Plan, strategy: Any = None, loss: Callable[[Any, Any], Any] = losses
    ) -> None:
        self.plan = plan
        self._losses = loss
        self._strategy = strategy or tf.distribute.get_strategy()
        self._replicas = self._strategy.num_replicas_in_sync
        if plan.batch % self._replicas:
            raise ModelError(f"a batch of {plan.batch} windows cannot be shared by {self._replicas} replicas; choose a multiple")
        with self._strategy.scope():
            self.network = make()
            self._optimizer = keras.optimizers.Adam(plan.rate)
            self._optimizer.build(self.network.trainable_variables)
        self._step = tf.function(self._one_step)
        any_features = tf.TensorSpec([None, *self.network.input_shape[1:]], tf.float32)
        self._forward = tf.function(lambda features: self.network(features, training=False), input_signature=[any_features])

    def fit(
        self, examples: Examples, validation: tuple[Samples, Samples], checkpoint: Checkpoint | None = None, tell: Tell = _silent
    ) -> History:
        """Train until the plan says that it is over, and leave the network with its best weights on `validation`.

        Raises
        ------
        ModelError
            The loss is no longer a number.
        """
        history, best = History(), self.weights()
        if checkpoint is not None and (found := checkpoint.read()) is not None:
            history, best = History(found.train, found.validation), found.best
            self._restore(found.state)
        while not history.is_over(self.plan):
            epoch = len(history.validation)
            history.train.append(float(np.mean(self.steps(examples(epoch)))))
            history.validation.append(self._validate(*validation))
            if not math.isfinite(history.train[-1] + history.validation[-1]):
                raise ModelError("training diverged: the loss is not a number; look for damaged rows in the lake")
            best = self.weights() if history.best == epoch else best
            if checkpoint is not None:
                checkpoint.write(history.train, history.validation, best, self._state())
            tell(history)
        _assign(self.network.trainable_variables, best)
        return history

    def steps(self, examples: Any, most: int | None = None) -> list[float]:
        """Take a step with each whole batch of `examples`, at most `most`; return the loss of each."""
        taken: list[Any] = []
        for features, targets in self._shared(examples):
            if most is not None and len(taken) == most:
                break
            taken.append(self._step(features, targets))
        return [float(loss) for loss in taken]

    def waited(self, examples: Any, most: int) -> float:
        """Take at most `most` steps; return for how many seconds they waited for windows."""
        batches, waited = iter(self._shared(examples)), 0.0
        for _ in range(most):
            begun = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - begun
            if batch is None:
                break
            float(self._step(*batch))  # waits for the step's end
        return waited

    def _shared(self, examples: Any) -> Any:
        return self._strategy.distribute_datasets_from_function(lambda context: self._share(examples, context))

    def _share(self, examples: Any, context: Any) -> Any:
        """Return the batches of the replicas here, one after another: their slices of each global batch."""
        here = self._replicas // context.num_input_pipelines
        first = here * context.input_pipeline_id
        slices = examples.batch(self.plan.batch // self._replicas, drop_remainder=True).batch(self._replicas, drop_remainder=True)
        own = slices.map(lambda features, targets: (features[first : first + here], targets[first : first + here]))
        return own.unbatch().prefetch(4)

    def _one_step(self, features: Any, targets: Any) -> Any:
        each = self._strategy.run(self._replica_step, args=(features, targets))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)

    def _replica_step(self, features: Any, targets: Any) -> Any:
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self._losses(targets, self.network(features, training=True))) / self.plan.batch
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        summed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        # the optimizer sums over the replicas once more, where there are some: each gives its share of what is summed already
        shares = [tf.clip_by_norm(gradient, self.plan.clip) / self._replicas for gradient in summed]
        self._optimizer.apply(shares, variables)
        return loss

    def _validate(self, features: Samples, targets: Samples) -> float:
        total = 0.0
        for at in range(0, len(features), FORWARD):
            answers = self._forward(tf.constant(features[at : at + FORWARD]))
            total += float(tf.reduce_sum(self._losses(targets[at : at + FORWARD], answers)))
        return total / len(features)

    def weights(self) -> list[Samples]:
        """Return all weights that are trained, layer by layer."""
        return [_value(variable) for variable in self.network.trainable_variables]

    def _state(self) -> list[Any]:
        return [_value(variable) for variable in (*self.network.variables, *self._optimizer.variables)]

    def _restore(self, state: Sequence[Any]) -> None:
        _assign((*self.network.variables, *self._optimizer.variables), state)


def _value(variable: Any) -> Any:
    return tf.convert_to_tensor(variable.value).numpy()


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def of_arrays(features: Samples, targets: Samples, seed: int) -> Examples:
    """Return the examples of [N, T, F] and [N, ...], each epoch in another order that `seed` gives."""
    held = tf.constant(features), tf.constant(targets)

    def examples(epoch: int) -> Any:
        order = np.random.default_rng((seed, epoch)).permutation(len(features))
        return tf.data.Dataset.from_tensor_slices(order).map(lambda at: (held[0][at], held[1][at]))

    return examples
