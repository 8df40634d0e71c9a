"""Spark for the tests of training: a process keeps the Java machine that it started first, and a later test's needs Kafka."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy import roles
from streams import settings


@pytest.fixture(scope="package", autouse=True)
def _with_kafka() -> Iterator[None]:
    jars = ",".join(str(jar) for jar in roles.spark_jars(settings.load({})))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_SUBMIT_ARGS", f"--jars {jars} pyspark-shell")
        yield
