"""An embedded Apache Kafka: one KRaft node from its jars, on loopback, with its data in one folder."""

from __future__ import annotations

import base64
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.local import jars
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.testing import eventually

HEAP = "512m"  # enough for the rates that two cores carry; the log itself lives in the page cache
START_TIMEOUT_S = 60.0

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


class Broker:
    """One embedded broker; :meth:`start` returns once its port answers.

    Parameters
    ----------
    settings : Settings
        `broker_port` (0: a free one), `cache` (jars) and `java_home` are used.
    data : Path
        Its folder; started again on the same folder it has the same topics and records.
    further : str
        More properties, which win over :data:`PROPERTIES`; `{port}` and `{controller_port}` stand for the ports.
    java_options : Sequence[str]
        More options of Java.
    """

    def __init__(self, settings: Settings, data: Path, further: str = "", java_options: Sequence[str] = ()) -> None:
        self._further = further
        self._java_options = java_options
        self._settings = settings
        self._data = data.resolve()
        self.port = settings.broker_port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Format the folder if it is new, start the broker and wait for its port.

        Raises
        ------
        EnvironmentFault
            No Java, no jars, or a broker that does not come up.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        properties = self._data / "server.properties"
        properties.touch(mode=0o600)  # it may hold passwords
        ports = {"port": self.port, "controller_port": free_port()}
        properties.write_text((PROPERTIES + self._further).format(**ports, log_dir=self._data / "log"))
        if not (self._data / "log" / "meta.properties").exists():
            cluster = new_cluster_id()
            subprocess.run(
                [*self._java("kafka.tools.StorageTool"), "format", "-t", cluster, "-c", str(properties)],
                check=True,
                capture_output=True,
            )
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._java("kafka.Kafka"), str(properties)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._wait()

    @property
    def log_path(self) -> Path:
        """Where the broker writes what it does."""
        return self._data / "broker.log"

    def _java(self, main: str) -> list[str]:
        class_path = str(jars.folder(self._settings, "broker") / "*")
        logging = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.yaml')}"
        return [
            jars.java(self._settings),
            f"-Xmx{HEAP}",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=4",
            logging,
            *self._java_options,
            "-cp",
            class_path,
            main,
        ]

    def _wait(self) -> None:
        process = self.process
        assert process is not None  # noqa: S101 - start() has just set it
        eventually(lambda: answers(self.port) or process.poll() is not None, START_TIMEOUT_S)
        if process.poll() is not None:
            raise EnvironmentFault(f"the embedded broker did not start; {self.log_path} says why")

    def run(self, stop: threading.Event) -> None:
        """Start, and stop once `stop` is set; return earlier where the broker ends by itself."""
        self.start()
        process = self.process
        while process is not None and process.poll() is None and not stop.wait(0.2):
            pass
        self.stop()

    def stop(self) -> None:
        """Ask the broker to shut down and wait; kill it where it does not within 20 s."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(settings: Settings, data: Path, further: str = "", java_options: Sequence[str] = ()) -> Iterator[Broker]:
    """Start a broker for the length of a `with` block."""
    broker = Broker(settings, data, further, java_options)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def new_cluster_id() -> str:
    """Return 16 random bytes as Kafka writes them; never with a dash in front, which the formatter takes for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Return whether something listens on `port` of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
