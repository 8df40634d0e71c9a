"""The address of the web page, and the token with which it may change things."""

from __future__ import annotations

import secrets

import msgspec

from streams.settings import Secret, Settings


def with_token(settings: Settings) -> Settings:
    """Return settings with a console token: the one that is set, or one made now."""
    return (
        settings if settings.console_token else msgspec.structs.replace(settings, console_token=Secret(secrets.token_urlsafe(24)))
    )


def address(settings: Settings) -> str:
    """Return the page's address; behind the `#`, which no browser sends, is the token that its buttons need."""
    return f"http://127.0.0.1:{settings.console_port}/#token={settings.console_token.reveal()}"
