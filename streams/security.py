"""TLS and SASL for every Kafka client, from one file: `TICKCAST_KAFKA_SECURITY` names it, each client's options are made here.

The file has a `name=value` a line, with the names of librdkafka, which most vendors print:

    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512
    sasl.username=tickcast
    sasl.password=${KAFKA_PASSWORD}
    ssl.ca.location=/etc/tickcast/ca.pem

A value `${NAME}` is the variable NAME of the environment. Secrets stay in memory: they are not in the environment that roles are
given, nor in a command's arguments, nor in what prints a :class:`Security` or complains of its file. Faust's and aiokafka's form
is in `consumers/credentials.py`.
"""

from __future__ import annotations

import ssl
import threading
import time
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec
from kafka.net.sasl.oauth import AbstractTokenProvider

from streams.errors import BrokerGone, SettingsError
from streams.settings import Settings, expanded

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

RENEW_AT = 0.8  # of a token's life
TOKEN_TIMEOUT_S = 10.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_JAVA = "org.apache.kafka.common.security"
_LOGIN_MODULES = {
    "PLAIN": f"{_JAVA}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{_JAVA}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{_JAVA}.scram.ScramLoginModule",
    "OAUTHBEARER": f"{_JAVA}.oauthbearer.OAuthBearerLoginModule",
}

Options = dict[str, Any]


class Security(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    dict=True,
    rename={
        "protocol": "security.protocol",
        "ca": "ssl.ca.location",
        "certificate": "ssl.certificate.location",
        "key": "ssl.key.location",
        "key_password": "ssl.key.password",
        "mechanism": "sasl.mechanism",
        "username": "sasl.username",
        "password": "sasl.password",
        "token_url": "sasl.oauthbearer.token.endpoint.url",
        "client_id": "sasl.oauthbearer.client.id",
        "client_secret": "sasl.oauthbearer.client.secret",
        "scope": "sasl.oauthbearer.scope",
    },
):
    """How to reach a broker: over TLS or not, and as whom.

    Attributes
    ----------
    ca : str
        A PEM file of the authorities that may vouch for the broker; empty: the system's. Its name is always checked.
    certificate, key, key_password : str
        PEM files (the key as PKCS 8), for brokers that know their clients by certificate.
    token_url, client_id, client_secret, scope : str
        Where and as whom OAUTHBEARER gets its tokens (client credentials grant); https beyond loopback, the system's authorities.
    """

    protocol: Protocol = "PLAINTEXT"
    ca: str = ""
    certificate: str = ""
    key: str = ""
    key_password: str = ""
    mechanism: Mechanism = ""
    username: str = ""
    password: str = ""
    token_url: str = ""
    client_id: str = ""
    client_secret: str = ""
    scope: str = ""

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        who = self.username or self.client_id
        return self.protocol + (f" with {self.mechanism} as {who}" if self.mechanism else "")

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    @cached_property
    def tokens(self) -> Tokens:
        """Where OAUTHBEARER's tokens come from."""
        return Tokens(self)

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context of Python's clients; None without TLS."""
        if not self.has_tls:
            return None
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key or None, self.key_password or None)
        return context

    def kafka_python(self) -> Options:
        """Return the options of kafka-python's clients; aiokafka's but for the tokens."""
        tls = {"security_protocol": self.protocol, "ssl_context": self.context()}
        if self.mechanism == "OAUTHBEARER":
            self.tokens.token()  # else each client would ask for one again and again, and say only that no broker answers
            return tls | {"sasl_mechanism": self.mechanism, "sasl_oauth_token_provider": self.tokens}
        if self.mechanism:
            named = {"sasl_plain_username": self.username, "sasl_plain_password": self.password}
            return tls | {"sasl_mechanism": self.mechanism} | named
        return tls

    def java(self) -> dict[str, str]:
        """Return the properties of Java's clients; passwords and the key are in them, no file is read again."""
        made: dict[str, str] = {"security.protocol": self.protocol}
        if self.ca:
            made |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": Path(self.ca).read_text()}
        if self.certificate:
            chain, key = (Path(file).read_text() for file in (self.certificate, self.key or self.certificate))
            made |= {"ssl.keystore.type": "PEM", "ssl.keystore.certificate.chain": chain, "ssl.keystore.key": key}
            made |= {"ssl.key.password": self.key_password} if self.key_password else {}
        if self.mechanism:
            made |= {"sasl.mechanism": self.mechanism, "sasl.jaas.config": self._jaas()}
        if self.mechanism == "OAUTHBEARER":
            handler = f"{_JAVA}.oauthbearer.OAuthBearerLoginCallbackHandler"
            made |= {"sasl.login.callback.handler.class": handler, "sasl.oauthbearer.token.endpoint.url": self.token_url}
        return made

    def _jaas(self) -> str:
        said = {"username": self.username, "password": self.password}
        if self.mechanism == "OAUTHBEARER":
            said = {"clientId": self.client_id, "clientSecret": self.client_secret} | (
                {"scope": self.scope} if self.scope else {}
            )
        return f"{_LOGIN_MODULES[self.mechanism]} required {' '.join(f'{name}={_quoted(text)}' for name, text in said.items())};"

    def librdkafka(self) -> Options:
        """Return the options of Confluent's client."""
        made: Options = {name: value for name, value in msgspec.to_builtins(self).items() if value and "oauthbearer" not in name}
        if self.mechanism == "OAUTHBEARER":
            made["oauth_cb"] = lambda _config: self.tokens.expiring()
        return made


def _quoted(text: str) -> str:
    """Return `text` as a word of a JAAS configuration."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Tokens(AbstractTokenProvider):  # type: ignore[misc] # kafka-python is not typed
    """Tokens of an OAuth 2 endpoint, each used until most of its life is over; for all threads."""

    def __init__(self, security: Security) -> None:
        super().__init__()
        self._security = security
        self._lock = threading.Lock()
        self._token = ""
        self._renew_s = 0.0
        self._expires_s = 0.0

    def token(self) -> str:
        """Return a token that is valid for some time yet.

        Raises
        ------
        BrokerGone
            The endpoint does not answer, or not with a token.
        """
        return self.expiring()[0]

    def expiring(self) -> tuple[str, float]:
        """Return a token, and until when it is valid, in seconds since 1970."""
        with self._lock:
            if time.time() >= self._renew_s:
                self._renew()
            return self._token, self._expires_s

    def _renew(self) -> None:
        own = self._security
        form = {"grant_type": "client_credentials"} | ({"scope": own.scope} if own.scope else {})
        try:
            answer = httpx.post(own.token_url, data=form, auth=(own.client_id, own.client_secret), timeout=TOKEN_TIMEOUT_S)
            answer.raise_for_status()
            said = answer.json()
            token, life_s = str(said["access_token"]), float(said.get("expires_in", 300))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            why = f"status {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
            raise BrokerGone(
                f"no token for Kafka comes from {own.token_url} ({why}); look at it and at the client's id"
            ) from None
        self._token, self._expires_s, self._renew_s = token, time.time() + life_s, time.time() + life_s * RENEW_AT


def of(settings: Settings) -> Security:
    """Return what the file of `TICKCAST_KAFKA_SECURITY` says; plain connections where none is named.

    Raises
    ------
    SettingsError
        It cannot be read, or something in it does not fit; no value of it is in the sentence.
    """
    if not settings.kafka_security:
        return Security()
    file = Path(settings.kafka_security).expanduser()
    try:
        return _read(file, file.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"TICKCAST_KAFKA_SECURITY: {file} cannot be read ({type(error).__name__}); name the right file"
        ) from None
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from None


@lru_cache(maxsize=4)
def _read(file: Path, _changed_ns: int) -> Security:
    """Return one object, and with it one token, for all clients of a process, until the file changes."""
    return parse(file.read_text())


def parse(text: str) -> Security:
    r"""Return what the lines of `text` say; empty ones and comments (#) are passed over.

    >>> parse("security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.username=me\nsasl.password=hidden")
    <SASL_SSL with PLAIN as me>

    Raises
    ------
    SettingsError
        A name that does not exist, a value that does not fit, or one that is missing.
    """
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    try:
        made = msgspec.convert({name.strip(): expanded(value.strip()) for name, _, value in pairs}, Security)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{error}; streams/security.py lists what can be said") from None
    _check(made)
    return made


def _check(security: Security) -> None:
    """Refuse what no client could use; each client would say so in its own way, some by trying for ever."""
    if security.protocol.startswith("SASL") != bool(security.mechanism):
        raise SettingsError("sasl.mechanism and a security.protocol that begins with SASL go together")
    if security.mechanism == "OAUTHBEARER":
        if not (security.token_url and security.client_id and security.client_secret):
            raise SettingsError("OAUTHBEARER needs sasl.oauthbearer.token.endpoint.url, .client.id and .client.secret")
    elif security.mechanism and not (security.username and security.password):
        raise SettingsError(f"{security.mechanism} needs sasl.username and sasl.password")
    url = urlsplit(security.token_url)
    if url.scheme not in {"", "https"} and url.hostname not in LOOPBACK:
        raise SettingsError("sasl.oauthbearer.token.endpoint.url is sent a secret: it must begin with https://")
    try:
        security.context()
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"the certificates cannot be used ({error.strerror or type(error).__name__}); look at the files of ssl.*"
        ) from None
