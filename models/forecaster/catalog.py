"""Every forecaster there is: what `tickcast evaluate --model` names, and what the laws in `tests/checks` are held against."""

from __future__ import annotations

from models.forecaster.base import Recipe
from models.forecaster.garch import Garch
from models.forecaster.har_rv import HarRv
from models.forecaster.linear import Linear
from models.forecaster.lstm import ENSEMBLE, LSTM, MONTE_CARLO
from models.forecaster.random_walk import RandomWalk
from models.forecaster.rnn import RNN
from streams.errors import SettingsError

NAIVE = RandomWalk.name
RECIPES: tuple[Recipe, ...] = (RandomWalk, Garch, HarRv, Linear, RNN, LSTM, MONTE_CARLO, ENSEMBLE)
CATALOG: dict[str, Recipe] = {recipe.name: recipe for recipe in RECIPES}


def chosen(names: list[str]) -> list[Recipe]:
    """Return the recipes called `names`, each once and the naive one first, whether it is among them or not.

    Raises
    ------
    SettingsError
        There is none of that name.
    """
    unknown = [name for name in names if name not in CATALOG]
    if unknown:
        raise SettingsError(f"there is no forecaster {unknown[0]!r}; there are {', '.join(CATALOG)}")
    return [CATALOG[name] for name in dict.fromkeys([NAIVE, *names])]
