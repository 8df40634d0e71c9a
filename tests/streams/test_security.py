"""The file that says how to reach a broker: read strictly, the same for every client, and no secret in any sentence."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import secured
from streams import security, settings
from streams.errors import BrokerGone, SettingsError
from streams.security import Security

SECRET = "open sesame"
SCRAM = f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.username=me\nsasl.password={SECRET}\n"
BEARER = (
    "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=http://127.0.0.1:1/t\n"
    f"sasl.oauthbearer.client.id=me\nsasl.oauthbearer.client.secret={SECRET}\n"
)


def test_nothing_said_is_a_plain_connection() -> None:
    plain = security.of(settings.load({}))
    assert plain == Security()
    assert plain.kafka_python() == {"security_protocol": "PLAINTEXT", "ssl_context": None}
    assert plain.java() == plain.librdkafka() == {"security.protocol": "PLAINTEXT"}


def test_a_password_reaches_every_client_in_its_own_words(tmp_path: Path) -> None:
    secured.make_certificates(tmp_path)
    said = security.parse(f"# ours\n\n{SCRAM.replace('PLAINTEXT', 'SSL')}ssl.ca.location = {tmp_path / 'ca.pem'}")
    python = said.kafka_python()
    assert (python["sasl_plain_username"], python["sasl_plain_password"]) == ("me", SECRET)
    assert isinstance(python["ssl_context"], ssl.SSLContext)
    assert python["ssl_context"].check_hostname
    java = said.java()
    assert java["sasl.jaas.config"].endswith(f'ScramLoginModule required username="me" password="{SECRET}";')
    assert java["ssl.truststore.certificates"].startswith("-----BEGIN CERTIFICATE-----")
    assert said.librdkafka() == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": SECRET,
        "ssl.ca.location": str(tmp_path / "ca.pem"),
    }


def test_a_client_can_have_a_certificate(tmp_path: Path) -> None:
    secured.make_certificates(tmp_path)
    pem = tmp_path / "broker.pem"
    said = security.parse(f"security.protocol=SSL\nssl.certificate.location={pem}\nssl.key.location={pem}")
    assert isinstance(said.kafka_python()["ssl_context"], ssl.SSLContext)
    assert said.java()["ssl.keystore.key"] == said.java()["ssl.keystore.certificate.chain"] == pem.read_text()


def test_a_value_may_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", SECRET)
    assert security.parse(SCRAM.replace(SECRET, "${KAFKA_PASSWORD}")).password == SECRET
    with pytest.raises(SettingsError, match="the variable ABSENT is not set"):
        security.parse(SCRAM.replace(SECRET, "${ABSENT}"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SCRAM.replace("password", "pasword"), "sasl.pasword"),
        (SCRAM.replace("SCRAM-SHA-512", "SCRAM"), "sasl.mechanism"),
        (SCRAM.replace("SASL_PLAINTEXT", "PLAINTEXT"), "go together"),
        ("security.protocol=SASL_SSL", "go together"),
        (SCRAM.replace("sasl.username=me", ""), "needs sasl.username"),
        (BEARER.replace("client.id=me", "client.id="), "OAUTHBEARER needs"),
        (BEARER.replace("127.0.0.1", "tokens.example"), "must begin with https"),
        (SCRAM.replace("SASL_PLAINTEXT", "SASL_SSL") + "ssl.ca.location=/nowhere.pem", "No such file"),
    ],
)
def test_what_does_not_fit_is_one_sentence_without_the_secret(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as refused:
        security.parse(text)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", [SCRAM, BEARER])
def test_nothing_that_prints_it_prints_the_secret(text: str) -> None:
    said = security.parse(text)
    assert SECRET not in f"{said} {said!r} {said.tokens!r} {msgspec.structs.replace(said, scope='x')}"
    assert "me" in str(said)


@given(st.text(st.characters(exclude_categories=["C"])))
def test_java_reads_any_password_as_it_is(password: str) -> None:
    """Its tokenizer takes a backslash for the next character as it is, and a quote for the end."""
    jaas = Security(mechanism="PLAIN", username="me", password=password).java()["sasl.jaas.config"]
    _, _, quoted = jaas.removesuffix('";').partition('password="')
    characters = iter(quoted)
    assert "".join(next(characters) if one == "\\" else one for one in characters) == password


def test_a_file_that_is_not_there_is_said_by_name(tmp_path: Path) -> None:
    own = settings.load({"TICKCAST_BROKER": "kafka:9092", "TICKCAST_KAFKA_SECURITY": str(tmp_path / "none")})
    with pytest.raises(SettingsError, match="none cannot be read"):
        security.of(own)


def test_security_without_a_broker_is_refused() -> None:
    with pytest.raises(SettingsError, match="needs TICKCAST_BROKER"):
        settings.load({"TICKCAST_KAFKA_SECURITY": "client.properties"})


def test_tokens_are_kept_until_most_of_their_life_is_over() -> None:
    issuer = secured.Issuer()
    issuer.clients["me"] = SECRET
    with secured.tokens(issuer) as url:
        said = security.parse(BEARER.replace("http://127.0.0.1:1/t", url))
        first, expires_s = said.tokens.expiring()
        assert said.tokens.token() == first
        assert httpx.post(url).status_code == 401
    assert said.tokens.token() == first, "the endpoint is gone, and the token still good"
    assert said.librdkafka()["oauth_cb"](None) == (first, expires_s)


def test_an_endpoint_that_gives_no_token_is_named_without_the_secret() -> None:
    with secured.tokens(secured.Issuer()) as url:
        said = security.parse(BEARER.replace("http://127.0.0.1:1/t", url))
        with pytest.raises(BrokerGone, match=r"no token .* \(status 401\)") as refused:
            said.tokens.token()
    assert SECRET not in str(refused.value)
    with pytest.raises(BrokerGone, match="ConnectError"):
        said.tokens.token()
