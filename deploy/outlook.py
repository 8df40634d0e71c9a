"""Which feed answers the monthly outlook: a folder of files where one is set, else Yahoo Finance, unless we are offline."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec

from consumers.console.outlooks import Outlooks
from models.outlook.outlook import Outlooker
from producers.daily_files import DailyFiles
from producers.daily_yahoo import DailyYahoo
from streams.daily import DailyFeed
from streams.errors import EnvironmentFault, SettingsError
from streams.settings import Settings


def outlooks(settings: Settings, as_of: date | None = None) -> Outlooks | None:
    """Return what computes outlooks; None where there is no feed. Loads nothing until somebody asks."""
    found = feed(settings, as_of)
    return None if found is None else Outlooks(found, lambda: _outlooker(settings), settings.symbol_list)


def demanded(settings: Settings, as_of: date | None = None) -> Outlooks:
    """Return the same where there must be a feed, and without Kafka: the store alone says which networks serve.

    Raises
    ------
    EnvironmentFault
        There is none.
    """
    found = outlooks(msgspec.structs.replace(settings, broker=""), as_of)
    if found is None:
        raise EnvironmentFault(
            "this machine is offline: pass --data DIR, or set TICKCAST_OUTLOOK to a folder with us-daily/*.csv"
        )
    return found


def feed(settings: Settings, as_of: date | None = None) -> DailyFeed | None:
    """Return the feed that `settings` asks for.

    Raises
    ------
    SettingsError
        The folder is not there, or a day was asked for and there are no files to end at it.
    """
    if settings.outlook:
        folder = Path(settings.outlook)
        if not folder.is_dir():
            raise SettingsError(f"there is no folder {folder}, which TICKCAST_OUTLOOK or --data names")
        return DailyFiles(folder, as_of)
    if as_of is not None:
        raise SettingsError("--as-of needs files that end then: add --data DIR, or set TICKCAST_OUTLOOK")
    return None if settings.offline else DailyYahoo()


def _outlooker(settings: Settings) -> Outlooker:
    from models.outlook import serving  # noqa: PLC0415 - with the models of texts it takes seconds
    from models.sentiment.reading import reader  # noqa: PLC0415

    return Outlooker(reader(settings), serving.champion(settings))
