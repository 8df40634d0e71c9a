"""A job's network, trained on this machine's devices or by several workers. Loads TensorFlow where it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models.forecaster.recurrent_recipe import SEEDS
from models.training.dataset import Examples
from models.training.job import Choice, Place

if TYPE_CHECKING:
    from models.forecaster.recurrent import Precision
    from models.training.loop import History, Tell, Trainer

Strategy = Literal["auto", "one", "mirrored"]
MOODS = ("sentiment", "news", "sentiment_n")  # the features that a training without sentiment mutes
MUTED = (0.0, 0.0)
AMPERE = (8, 0)  # the compute capability from which NVIDIA's GPUs have bfloat16


def scaler(place: Place) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each feature in the training part; (0, 0) mutes one."""
    of_features = place.parts[0].scaler()
    return of_features if place.job.choice.sentiment else of_features | dict.fromkeys(MOODS, MUTED)


def trainer(place: Place, strategy: Any = None, *, dropout: bool = True) -> Trainer:
    """Return a trainer of the job's network, not trained yet, on `strategy` (None: on one device)."""
    from models.forecaster import recurrent  # noqa: PLC0415 - seconds of TensorFlow
    from models.training import loop  # noqa: PLC0415

    recurrent.prepare()
    choice, of_features = place.job.choice, scaler(place)
    plan = loop.Plan(choice.epochs, min(choice.batch, len(place.parts[0])))
    seed, sums = SEEDS * choice.seed, precision(choice)
    return loop.Trainer(lambda: recurrent.build(of_features, seed=seed, dropout=dropout, precision=sums), plan, strategy)


def fit(place: Place, chosen: Strategy, tell: Tell) -> tuple[Any, History]:
    """Train the job's network in this process, from where it stands, and return it with its history.

    Raises
    ------
    ModelError
        Training diverged, or the disk is full.
    """
    from models.forecaster import recurrent  # noqa: PLC0415 - seconds of TensorFlow

    recurrent.prepare()  # threads first: whatever reads a shard computes something
    own = trainer(place, strategy(chosen))
    history = run(own, place, tell, writes=True)
    return recurrent.in_full_precision(own.network, scaler(place)), history


def run(own: Trainer, place: Place, tell: Tell, *, writes: bool) -> History:
    """Train to the end; of several workers one `writes` the checkpoint."""
    from models.training import loop  # noqa: PLC0415 - seconds of TensorFlow

    train, validation = place.parts
    examples = loop.of_arrays(train.features, train.scaled, place.job.choice.seed)
    return own.fit(examples, _arrays(validation), place.checkpoint(writes=writes), tell)


def steps(own: Trainer, place: Place, count: int) -> list[float]:
    """Take `count` steps, through as many epochs as that needs; return the loss of each."""
    from models.training import loop  # noqa: PLC0415 - seconds of TensorFlow

    train = place.parts[0]
    examples = loop.of_arrays(train.features, train.scaled, place.job.choice.seed)
    losses: list[float] = []
    epoch = 0
    while len(losses) < count:
        losses += own.steps(examples(epoch), count - len(losses))
        epoch += 1
    return losses


def precision(choice: Choice) -> Precision:
    """Return how the recurrent layer computes: `auto` is bfloat16 where there are GPUs and all of them have it."""
    from models.forecaster.recurrent import tf  # noqa: PLC0415 - seconds

    if choice.precision != "auto":
        return "mixed_bfloat16" if choice.precision == "bfloat16" else "float32"
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    able = bool(gpus) and all(gpu.get("compute_capability", (0, 0)) >= AMPERE for gpu in gpus)
    return "mixed_bfloat16" if able else "float32"


def strategy(chosen: Strategy) -> Any:
    """Return what to train on: `auto` is every GPU of this machine where there are several, else one device."""
    from models.forecaster.recurrent import tf  # noqa: PLC0415 - seconds

    gpus = tf.config.list_logical_devices("GPU")
    if chosen == "mirrored" or (chosen == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy()
    return None


def _arrays(part: Examples) -> tuple[Any, Any]:
    return part.features, part.scaled
