"""The same engine on a Spark cluster of two workers: processes of this machine that share nothing but the checkpoint's folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import pyspark
import pytest

from deploy.local import jars
from deploy.local.broker import answers, free_port
from streams.settings import Settings
from streams.testing import eventually
from tests.streams import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CORES = 5  # of each worker: real-time mode needs 4 x 2 partitions + 1 slots at once
WORKERS = ("one", "two")


@contextmanager
def process(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and end it with all that it has started."""
    with log.open("ab") as out:
        own = subprocess.Popen(arguments, env=os.environ | environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield own
    finally:
        os.killpg(own.pid, signal.SIGKILL)
        own.wait()


@pytest.fixture
def cluster(config: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Start a standalone master and two workers, and return settings that name them."""
    port = free_port()
    spark_class = str(Path(pyspark.__file__).with_name("bin") / "spark-class")
    package = "org.apache.spark.deploy"
    java_home = str(Path(jars.java(config)).resolve().parents[1])
    environment = {"JAVA_HOME": java_home, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
    master = [spark_class, f"{package}.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
    with ExitStack() as stack:
        stack.enter_context(process(master, environment, tmp_path / "master.log"))
        eventually(lambda: answers(port), timeout_s=60)
        url = f"spark://127.0.0.1:{port}"
        for name in WORKERS:
            options = ["--host", "127.0.0.1", "--cores", str(CORES), "--memory", "1g", "--work-dir", str(tmp_path / name)]
            worker = [spark_class, f"{package}.worker.Worker", *options, "--webui-port", "0", url]
            stack.enter_context(process(worker, environment, tmp_path / f"{name}.log"))
        yield msgspec.structs.replace(config, spark_master=url, checkpoint_s=5)


@pytest.mark.parametrize("engine", ["realtime", "microbatch"])
def test_two_workers_compute_the_truth(cluster: Settings, tmp_path: Path, engine: Literal["realtime", "microbatch"]) -> None:
    own = msgspec.structs.replace(cluster, engine=engine)
    every = running.all_tapes()
    running.send(own, running.records(every))
    environment = own.environment() | {"SPARK_LOCAL_IP": "127.0.0.1"}
    with process([sys.executable, "-m", "deploy", "stream"], environment, tmp_path / "engine.log") as driver:
        eventually(lambda: driver.poll() or running.is_true(own, every), timeout_s=240, interval_s=1)
        assert driver.poll() is None, (tmp_path / "engine.log").read_text()[-2_000:]
    executors = {name: list((tmp_path / name).glob("app-*/*/stderr")) for name in WORKERS}
    assert all(executors.values())
