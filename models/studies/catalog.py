"""The studies by name: what `tickcast study` runs."""

from __future__ import annotations

from models.studies import daily, minute, monthly, sse
from models.studies.base import Study
from streams.errors import SettingsError

STUDIES: tuple[Study, ...] = (daily.STUDY, monthly.STUDY, sse.STUDY, minute.STUDY)
CATALOG: dict[str, Study] = {study.name: study for study in STUDIES}


def named(name: str) -> Study:
    """Return the study called `name`.

    Raises
    ------
    SettingsError
        There is none.
    """
    if name not in CATALOG:
        raise SettingsError(f"there is no study {name!r}; there are {', '.join(CATALOG)}, and all")
    return CATALOG[name]
