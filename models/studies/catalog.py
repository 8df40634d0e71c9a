"""The studies by name: what `tickcast study` runs. A study is imported when it is asked for: others take seconds.

To add one: write its file beside this, with a `STUDY`, and add one line to `SUMMARIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from models.studies.base import Study
from streams.errors import SettingsError

SUMMARIES: Mapping[str, str] = {
    "daily": "Six big companies, daily 2010 to 2024, by Spark and TensorFlow: an LSTM and persistence, one worker and two.",
    "monthly": "Monthly returns from four months of headlines and returns, by a stacked LSTM: FinBERT-LSTM with its naive rows.",
    "sse": "SSE Composite, 2010 to 2024: an LSTM against an RNN and persistence, as published and audited.",
    "minute": "The minute-level system on the lake: every model in walk-forward against the random walk.",
}


def named(name: str) -> Study:
    """Return the study called `name`.

    Raises
    ------
    SettingsError
        There is none.
    """
    if name not in SUMMARIES:
        raise SettingsError(f"there is no study {name!r}; there are {', '.join(SUMMARIES)}, and all")
    study: Study = import_module(f"models.studies.{name}").STUDY
    return study
