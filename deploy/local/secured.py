"""An embedded broker that asks who one is: TLS, SCRAM, OAUTHBEARER and rights, for checks of what clients do with them.

Its certificates and the key that signs tokens are made anew at each start; certificates end after a day.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from deploy.local import broker as local_broker
from streams import bus
from streams.settings import Settings

ADMIN = "broker"
LIFE_S = 300.0  # of a token
PROPERTIES = """
listeners=SASL_SSL://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller_port}}
advertised.listeners=SASL_SSL://127.0.0.1:{{port}}
listener.security.protocol.map=CONTROLLER:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=SASL_SSL
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.plain.sasl.jaas.config={java}.plain.PlainLoginModule required username="{admin}" password="{password}" \
user_{admin}="{password}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={java}.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={java}.oauthbearer.OAuthBearerLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class={java}.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={token_keys}
listener.name.controller.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={keys}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{admin};User:CN={admin}
"""


@dataclass(frozen=True)
class Secured:
    """A broker that runs.

    Attributes
    ----------
    address : str
        `host:port`.
    folder : Path
        Where its authority's certificate and the files of its clients are.
    token_url : str
        Where OAUTHBEARER gets its tokens.
    """

    address: str
    folder: Path
    token_url: str
    _admin: Settings
    _issuer: Issuer

    def user(self, name: str, password: str, prefix: str = "") -> None:
        """Make a user for SCRAM-SHA-512; with `prefix` it has the rights of :func:`allow`."""
        with closing(bus.admin(self._admin)) as admin:
            said = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(name, "SCRAM-SHA-512", password)])
            assert said == {name: None}, said  # noqa: S101 - we are its super user
            if prefix:
                allow(admin, name, prefix)

    def client(self, name: str, secret: str) -> None:
        """Have the endpoint give tokens to the client `name`; its user has the rights of that name."""
        self._issuer.clients[name] = secret

    def scram(self, settings: Settings, name: str, password: str) -> Settings:
        """Return settings of the user `name`."""
        lines = ("sasl.mechanism=SCRAM-SHA-512", f"sasl.username={name}", f"sasl.password={password}")
        return self._settings(settings, f"{name}-scram.properties", lines)

    def bearer(self, settings: Settings, name: str, secret: str) -> Settings:
        """Return settings of the user `name` with tokens instead of a password."""
        oauth = {"token.endpoint.url": self.token_url, "client.id": name, "client.secret": secret}
        lines = (f"sasl.oauthbearer.{what}={value}" for what, value in oauth.items())
        return self._settings(settings, f"{name}-bearer.properties", ("sasl.mechanism=OAUTHBEARER", *lines))

    def _settings(self, settings: Settings, name: str, lines: tuple[str, ...]) -> Settings:
        file = write_secret(self.folder / name, "\n".join((_tls(self.folder), *lines)))
        return msgspec.structs.replace(settings, broker=self.address, kafka_security=str(file))


def _tls(folder: Path) -> str:
    return f"security.protocol=SASL_SSL\nssl.ca.location={folder / 'ca.pem'}"


def write_secret(file: Path, text: str) -> Path:
    """Write a file that its owner alone can read; return its path."""
    file.touch(mode=0o600)
    file.write_text(text)
    return file


@contextmanager
def running(settings: Settings, data: Path) -> Iterator[Secured]:
    """Start such a broker, with its token endpoint, for the length of a `with` block; `data` is a new folder."""
    folder = data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    make_certificates(folder)
    password = secrets.token_urlsafe()
    issuer = Issuer()
    (folder / "tokens.json").write_text(json.dumps({"keys": [issuer.public_key()]}))
    token_keys = (folder / "tokens.json").as_uri()
    further = PROPERTIES.format(
        java="org.apache.kafka.common.security",
        admin=ADMIN,
        password=password,
        keys=folder / "broker.pem",
        ca=folder / "ca.pem",
        token_keys=token_keys,
    )
    believed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={token_keys}"
    with tokens(issuer) as url, local_broker.running(settings, folder / "kafka", further, (believed,)) as broker:
        lines = (_tls(folder), "sasl.mechanism=PLAIN", f"sasl.username={ADMIN}", f"sasl.password={password}")
        admin = write_secret(folder / "admin.properties", "\n".join(lines))
        own = msgspec.structs.replace(settings, broker=broker.address, kafka_security=str(admin))
        yield Secured(broker.address, folder, url, own, issuer)


def allow(admin: KafkaAdminClient, name: str, prefix: str) -> None:
    """Let the user `name` do everything with topics and groups that begin with `prefix`: a namespace's roles need no more."""
    admin.create_acls(
        [
            ACL(
                f"User:{name}",
                "*",
                ACLOperation.ALL,
                ACLPermissionType.ALLOW,
                ResourcePattern(kind, prefix, ACLResourcePatternType.PREFIXED),
            )
            for kind in (ResourceType.TOPIC, ResourceType.GROUP)
        ]
    )


def make_certificates(folder: Path) -> None:
    """Write an authority's certificate (`ca.pem`), and the broker's own with its key (`broker.pem`), for 127.0.0.1 and a day."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate(
        "tickcast check", authority_key, "tickcast check", authority_key, x509.BasicConstraints(ca=True, path_length=0)
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    own = _certificate(ADMIN, key, "tickcast check", authority_key, names)
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_secret(folder / "broker.pem", (private + own.public_bytes(serialization.Encoding.PEM)).decode())


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(issuer_key, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


class Issuer:
    """Signs tokens (RFC 7519) for the clients that it knows.

    Attributes
    ----------
    clients : dict[str, str]
        Their names and secrets.
    """

    def __init__(self) -> None:
        self.clients: dict[str, str] = {}
        self._key = rsa.generate_private_key(65_537, 2_048)

    def public_key(self) -> dict[str, str]:
        """Return the key that the broker checks signatures with, as RFC 7517 writes it."""
        numbers = self._key.public_key().public_numbers()
        written = {
            name: _text(value.to_bytes(-(-value.bit_length() // 8))) for name, value in (("n", numbers.n), ("e", numbers.e))
        }
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": ADMIN} | written

    def knows(self, name: str, secret: str) -> bool:
        """Return whether `secret` is that of the client `name`."""
        return bool(secret) and secrets.compare_digest(self.clients.get(name, "").encode(), secret.encode())

    def token(self, name: str) -> str:
        """Return a token for `name`."""
        now = time.time()
        parts = ({"alg": "RS256", "kid": ADMIN}, {"sub": name, "iat": now, "exp": now + LIFE_S, "scope": "kafka"})
        said = ".".join(_text(json.dumps(part).encode()) for part in parts)
        return f"{said}.{_text(self._key.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


@contextmanager
def tokens(issuer: Issuer) -> Iterator[str]:
    """Lend the URL of an endpoint on 127.0.0.1 that gives the tokens of `issuer`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Tokens, issuer))
    thread = threading.Thread(target=server.serve_forever, daemon=True, name="tokens")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Tokens(BaseHTTPRequestHandler):
    def __init__(self, issuer: Issuer, *rest: Any) -> None:
        self._issuer = issuer
        super().__init__(*rest)

    def do_POST(self) -> None:
        """Answer a client credentials grant, of whatever scope."""
        _, _, told = self.headers.get("Authorization", "").partition(" ")
        name, _, secret = base64.b64decode(told).decode().partition(":")
        known = self._issuer.knows(name, secret)
        said = {"access_token": self._issuer.token(name), "token_type": "Bearer", "expires_in": LIFE_S} if known else {}
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: what clients send here is secret."""
