"""One Spark session for all tests of the feature engine; a machine has no memory for two."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from pyspark.sql import SparkSession

from deploy import roles
from streams import job, settings
from streams import spark as sessions


@pytest.fixture(scope="package")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Return a session with the feature engine's own options and slots: it also runs real-time mode."""
    own = msgspec.structs.replace(settings.load({}), home=tmp_path_factory.mktemp("spark"))
    session = sessions.session(own, job.slots(own), roles.spark_jars(own), job.options(own))
    yield session
    session.stop()
