"""The address of the web page, and the token with which it may change things."""

from __future__ import annotations

import os
import secrets
import webbrowser
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

import msgspec

from streams.settings import Secret, Settings


def with_token(settings: Settings) -> Settings:
    """Return settings with a console token: the one that is set, or one made now."""
    return (
        settings if settings.console_token else msgspec.structs.replace(settings, console_token=Secret(secrets.token_urlsafe(24)))
    )


def address(settings: Settings) -> str:
    """Return the page's address; behind the `#`, which no browser sends, is the token that its buttons need."""
    return f"http://127.0.0.1:{settings.console_port}/#token={quote(settings.console_token.reveal(), '')}"


def show(settings: Settings, browse: Callable[[str], object] = webbrowser.open) -> None:
    """Open the page in a browser.

    A browser gets the address as an argument, which every user of the machine sees: so it gets that of a file which only this
    user can read, and which leads on to the page.
    """
    file = door(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as leading:
        leading.write(
            f'<!doctype html><title>tickcast</title><meta http-equiv="refresh" content="0; url={escape(address(settings))}">'
        )
    browse(file.resolve().as_uri())


def door(settings: Settings) -> Path:
    """Return the file that leads to the page."""
    return settings.state / "page.html"
