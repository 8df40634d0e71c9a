"""What each role runs: the one place where a role's name meets its code. Imports happen when a role starts, not before."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from deploy.local import jars
from streams.settings import Settings

# In the order in which a tick meets them.
ROLES = ("produce", "stream", "archive", "sentiment", "forecast", "score", "train", "retrain", "steward", "console")


def spark_jars(settings: Settings) -> list[Path]:
    """Return the jars of Spark's Kafka connector; also checks that there is a Java to run them."""
    jars.java(settings)
    return sorted(jars.folder(settings, "spark").glob("*.jar"))


def stream(settings: Settings) -> None:
    """Run the feature engine."""
    from streams import job  # noqa: PLC0415 - pyspark only where Spark runs

    job.run(settings, spark_jars(settings))


def archive(settings: Settings) -> None:
    """Run the archive."""
    from streams import archive as application  # noqa: PLC0415 - pyspark only where Spark runs

    application.run(settings, spark_jars(settings))


def sentiment(settings: Settings) -> None:
    """Run the sentiment consumer."""
    from consumers import worker  # noqa: PLC0415 - Faust and ONNX Runtime only where they run
    from consumers.sentiment import make_handler  # noqa: PLC0415

    worker.run(make_handler(settings), settings)


def forecast(settings: Settings) -> None:
    """Run the forecaster."""
    from consumers import worker  # noqa: PLC0415 - Faust and onnxruntime only where they run
    from consumers.forecaster import make_handler  # noqa: PLC0415

    worker.run(make_handler(settings), settings)


def score(settings: Settings) -> None:
    """Run the scorer."""
    from consumers import worker  # noqa: PLC0415 - Faust only where it runs
    from consumers.scorer import ScoreHandler  # noqa: PLC0415

    worker.run(ScoreHandler(), settings)


def train(settings: Settings) -> None:
    """Make sure that there is a forecaster: announce the newest one here, or ingest simulated history and train one."""
    from deploy import first_model  # noqa: PLC0415 - TensorFlow only where it trains

    first_model.ensure(settings)


def steward(settings: Settings) -> None:
    """Run who carries out orders."""
    from deploy import steward as keeper  # noqa: PLC0415 - dead letters and tapes only where they are needed

    keeper.run(settings)


def console(settings: Settings, host: str) -> None:
    """Run the web page."""
    from consumers.console import server  # noqa: PLC0415 - FastAPI only where it serves
    from deploy import outlook  # noqa: PLC0415 - as above
    from deploy.tapes import HomeTapes  # noqa: PLC0415

    backends = server.Backends(outlook.outlooks(settings), HomeTapes(settings))
    server.run(settings, host=host, port=settings.console_port, backends=backends)


def outlook_console(settings: Settings, host: str, as_of: date | None) -> None:
    """Run the page of the monthly outlook alone, without a broker.

    Raises
    ------
    EnvironmentFault
        There is no feed of prices.
    """
    from consumers.console import outlook_only  # noqa: PLC0415 - as above
    from deploy import outlook  # noqa: PLC0415

    outlook_only.run(outlook.demanded(settings, as_of), settings, host=host, port=settings.console_port)
