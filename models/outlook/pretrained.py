"""The model file: an ensemble of networks in one safetensors file, with all that its forecasts need and what is known of them.

`pretrained.safetensors` is made by `python -m models.studies.monthly_file`; `docs/studies/monthly.md` has its figures. Newer ones
are made by `tickcast retrain --model monthly` (`models/studies/monthly_refit.py`) and served once promoted (`serving.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from models import tensor_file
from models.outlook.scaling import Scaler
from models.sentiment.files import checked_sha256, sha256
from models.tensor_file import Tensors as Weights
from streams.errors import ModelError

NAME = "monthly"  # of all such models together, in the store and on `models`
FILE = Path(__file__).with_name("pretrained.safetensors")
VERSION = 1


class About(msgspec.Struct, frozen=True):
    """What is in the file besides weights.

    Parameters
    ----------
    scaler : Scaler
        Of the months that the networks were trained on.
    sentiment_model_id : str
        Who read the headlines.
    trained_until : str
        The last day, ISO, of a return that the networks have seen.
    samples : int
        How many months of stocks that was.
    usual_return : float
        The mean of those months.
    usual_volatility : float
        Of a month's return: for a stock with too few prices to have one of its own.
    residuals : dict[str, float]
        Level to quantile of (what came - what was expected) / volatility, of the walk-forward forecasts.
    rmse, naive_rmse, mean_rmse : float
        Of the walk-forward forecasts, of no change and of the mean of all months before.
    dm_p_value : float
        Diebold-Mariano test against no change.
    verdict : str
        What that test says.
    tested : int
        Walk-forward forecasts.
    """

    scaler: Scaler
    sentiment_model_id: str
    trained_until: str
    samples: int
    usual_return: float
    usual_volatility: float
    residuals: dict[str, float]
    rmse: float
    naive_rmse: float
    mean_rmse: float
    dm_p_value: float
    verdict: str
    tested: int
    version: int = VERSION


class Held(msgspec.Struct, frozen=True):
    """A file, read: its name by content, what it is, and the weights of each network."""

    model_id: str
    about: About
    weights: list[Weights]


def write(path: Path, weights: Sequence[Weights], about: About) -> None:
    """Write the file and, beside it, its checksum; whoever reads finds both or the ones before."""
    tensors = {f"{number}.{name}": tensor for number, one in enumerate(weights) for name, tensor in one.items()}
    checksum = path.with_suffix(".sha256")
    checksum.unlink(missing_ok=True)
    tensor_file.write(path, tensors, about)
    checksum.write_text(f"{sha256(path)}  {path.name}\n", encoding="ascii")


def read(path: Path = FILE) -> Held:
    """Return what is in the file.

    Raises
    ------
    ModelError
        It is missing, damaged, or of another version.
    """
    digest = checked_sha256(path, path.with_suffix(".sha256"))
    about, tensors = tensor_file.read(path, About)
    if about.version != VERSION:
        raise ModelError(f"{path} is of version {about.version}, not {VERSION}; reinstall tickcast")
    return Held(f"outlook-{digest[:8]}", about, _networks(tensors))


def _networks(tensors: Weights) -> list[Weights]:
    count = 1 + max(int(name.partition(".")[0]) for name in tensors)
    return [
        {name.partition(".")[2]: tensor for name, tensor in tensors.items() if name.startswith(f"{number}.")}
        for number in range(count)
    ]
