"""Every client on a broker with TLS, passwords, tokens and rights; and the check that runs everything on one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from consumers.sending import Sender
from consumers.subscribe import history, subscribe
from deploy import doctor
from deploy.local import secured
from deploy.local.secured import Secured
from deploy.verify.security import Search
from streams import bus, security, settings
from streams.bus import Outgoing
from streams.errors import BrokerGone, EnvironmentFault
from streams.messages import Score
from streams.settings import Settings
from tests.pipeline import tickcast
from tests.streams.strategies import SAMPLES

PASSWORD = 'open "se\\same";='
SECRET = "s3cret= \\of the client"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured.running(settings.load({}), tmp_path_factory.mktemp("guarded")) as broker:
        broker.user("tickcast", PASSWORD, "safe.")
        broker.client("tickcast", SECRET)
        broker.user("stranger", PASSWORD)
        yield broker


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    return settings.load({}, home=tmp_path / "home", topic_prefix="safe.", offline=True)


@pytest.mark.parametrize("mechanism", ["scram", "bearer"])
def test_every_client_of_python_and_c_is_let_in(guarded: Secured, plain: Settings, mechanism: str) -> None:
    own = guarded.scram(plain, "tickcast", PASSWORD) if mechanism == "scram" else guarded.bearer(plain, "tickcast", SECRET)
    bus.ensure_topics(own)
    value = msgspec.json.encode(msgspec.structs.replace(SAMPLES[Score], forecast_id=mechanism))
    with bus.producing(own) as client:
        bus.send_all(client, own, [Outgoing("scores", b"AAPL", value)])

    async def send() -> None:
        sender = Sender(own)
        await sender.start()
        await sender.send([Outgoing("ticks", mechanism.encode(), b"from aiokafka")])
        await sender.stop()

    asyncio.run(send())
    fast = Producer({"bootstrap.servers": own.broker, **security.of(own).librdkafka()})
    fast.produce(own.topic("ticks"), b"from C", mechanism.encode())
    fast.poll(0.1)  # its tokens are asked for here
    assert fast.flush(20) == 0
    assert {record.value for record in bus.read_all(own, "ticks") if record.key == mechanism.encode()} == {
        b"from aiokafka",
        b"from C",
    }
    assert mechanism in history("scores", settings=own)["forecast_id"]
    with subscribe("scores", since="beginning", group="safe", settings=own) as scores:
        assert next(iter(scores)).symbol == "AAPL"
    with closing(bus.admin(own)) as admin:
        assert own.topic("safe") in {group["group_id"] for group in admin.list_groups()}


def test_who_may_not_is_told_so_in_a_sentence(guarded: Secured, plain: Settings) -> None:
    stranger = guarded.scram(plain, "stranger", PASSWORD)
    with pytest.raises(
        EnvironmentFault, match=r"refuses SASL_SSL with SCRAM-SHA-512 as stranger \(TopicAuthorizationFailed\)"
    ) as no:
        bus.ensure_topics(msgspec.structs.replace(stranger, topic_prefix="other."))
    assert PASSWORD not in str(no.value)
    with pytest.raises(BrokerGone, match="no Kafka broker answers"):
        bus.consumer(guarded.scram(plain, "tickcast", "wrong"), bootstrap_timeout_ms=1_500)


def test_the_doctor_names_the_user_and_warns_of_a_password_that_travels_readable(plain: Settings, tmp_path: Path) -> None:
    file = secured.write_secret(
        tmp_path / "x", f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=me\nsasl.password={PASSWORD}"
    )
    own = msgspec.structs.replace(plain, broker="127.0.0.1:9092", kafka_security=str(file))
    assert doctor._security(own) == f"SASL_PLAINTEXT with PLAIN as me, from {file}"  # noqa: SLF001
    with pytest.raises(EnvironmentFault, match="travels readable to kafka:9092"):
        doctor._security(msgspec.structs.replace(own, broker="kafka:9092"))  # noqa: SLF001


def test_a_secret_is_found_wherever_it_was_left(tmp_path: Path) -> None:
    search = Search({"user": PASSWORD})
    (tmp_path / "role.log").write_text(f"could not log in with {PASSWORD}")
    (tmp_path / "other.log").write_text("could not log in")
    search.files(tmp_path)
    search.take("answers", "an answer", b"Authorization: Basic " + base64.b64encode(b"user:" + PASSWORD.encode()[1:]))
    search.take("answers", "another answer", b"Basic " + base64.b64encode(PASSWORD.encode()))
    assert search.found == ["the secret of user is in role.log", "the secret of user is in another answer"]
    assert search.searched == {"files": 2, "records": 0, "processes": 0, "answers": 2}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_everything_runs_with_few_rights_and_leaves_no_secret(tape: Path, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    own = settings.load({}, home=tmp_path / "home", sentiment="minilm", offline=True)
    done = tickcast(own, "verify", "security", "--quick", "--tape", str(tape), "--json", str(path), timeout_s=800)
    figures = json.loads(path.read_text()) if path.exists() else {}
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{figures.get('refused')}"
    assert figures["replays"]["SCRAM-SHA-512"]["records"]["scores"] > 0
    assert figures["leaks"] == []
    assert figures["searched"]["processes"] > 10
