"""What `streams/security.py` says, for aiokafka and for Faust."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from faust import auth

from streams.security import Security, Tokens


class Bearer(AbstractTokenProvider):  # type: ignore[misc] # aiokafka is not checked, see pyproject.toml
    """The tokens of :class:`streams.security.Tokens`; a thread waits for the endpoint, not the event loop."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def token(self) -> str:
        """Return a token that is valid for some time yet."""
        return await asyncio.to_thread(self._tokens.token)


def aiokafka(security: Security) -> dict[str, Any]:
    """Return the options of aiokafka's clients."""
    options = security.kafka_python()
    if "sasl_oauth_token_provider" in options:
        options["sasl_oauth_token_provider"] = Bearer(security.tokens)
    return options


def faust(security: Security) -> auth.Credentials | None:
    """Return the credentials of a Faust app; None for a plain connection."""
    context = security.context()
    if security.mechanism == "OAUTHBEARER":
        return auth.OAuthCredentials(oauth_cb=Bearer(security.tokens), ssl_context=context)
    if security.mechanism:
        return auth.SASLCredentials(
            username=security.username, password=security.password, ssl_context=context, mechanism=security.mechanism
        )
    return auth.SSLCredentials(context) if context else None
