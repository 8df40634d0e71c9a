"""All settings, from the environment (`TICKCAST_*`); the only file that reads it.

An unknown or malformed setting is an error at once: a misspelt one must not be silently without effect.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from platformdirs import user_cache_path

from streams.errors import SettingsError

PREFIX = "TICKCAST_"
# Variables of other programs that we honour; everything else of theirs is theirs.
FOREIGN = {"JAVA_HOME": "java_home", "HF_HUB_OFFLINE": "offline"}

Engine = Literal["auto", "realtime", "microbatch"]
SentimentChoice = Literal["auto", "finbert", "minilm"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. Each field `name` is the variable `TICKCAST_NAME`."""

    home: Annotated[Path, Meta(description="where logs, checkpoints, the lake, models and the broker's data live")] = Path(
        ".tickcast"
    )
    cache: Annotated[Path, Meta(description="where downloaded jars and exported models are kept, for all homes")] = msgspec.field(
        default_factory=lambda: user_cache_path("tickcast")
    )
    broker: Annotated[str, Meta(description="host:port of a Kafka broker; empty: start an embedded one")] = ""
    kafka_security: Annotated[
        str, Meta(description="a file with TLS and SASL for the broker that is set (SECURITY.md); empty: a plain connection")
    ] = ""
    broker_port: Annotated[int, Meta(ge=0, le=65535, description="port of the embedded broker; 0: a free one")] = 0
    topic_prefix: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]*$", description="namespace of topics and groups")] = ""
    partitions: Annotated[int, Meta(ge=1, le=62, description="partitions of each spread topic")] = 2
    symbols: Annotated[str, Meta(description="comma separated")] = "AAPL,MSFT,GOOGL,AMZN,TSLA,META"
    archive: Annotated[str, Meta(description="lake that is written; empty: HOME/lake, of a namespace its own")] = ""
    tapes: Annotated[str, Meta(description="folder with the tapes that the page offers; empty: HOME/tapes")] = ""
    engine: Annotated[Engine, Meta(description="how Spark runs the features; auto: realtime unless far behind")] = "auto"
    flush_ms: Annotated[
        int, Meta(ge=1, le=1000, description="how long the engine lets rows wait for company: more for throughput")
    ] = 2
    checkpoint_s: Annotated[int, Meta(ge=5, le=3600, description="seconds between the checkpoints of real time")] = 300
    spark_master: Annotated[
        str, Meta(description="Spark cluster of engine and archive, as in spark://host:7077; empty: none")
    ] = ""
    closings: Annotated[bool, Meta(description="whether producers send closings; 0: none does, no row is final (slower)")] = True
    repeats: Annotated[
        bool, Meta(description="whether anything may come twice; 0: nothing does (faster, and little to remember)")
    ] = True
    lateness_min: Annotated[int, Meta(ge=0, le=15, description="how late a tick may be and still revise")] = 10
    future_s: Annotated[int, Meta(ge=0, le=60, description="how far a tick may be ahead of its clock")] = 5
    sentiment: Annotated[SentimentChoice, Meta(description="which sentiment model; auto: FinBERT if it can be had")] = "auto"
    finbert: Annotated[str, Meta(description="a local folder or hub name with FinBERT's weights")] = "ProsusAI/finbert"
    tracking: Annotated[str, Meta(description="MLflow server that keeps the models' record; empty: sqlite in HOME/registry")] = ""
    offline: Annotated[bool, Meta(description="never ask a model hub; HF_HUB_OFFLINE=1 sets it too")] = False
    console_port: Annotated[int, Meta(ge=0, le=65535, description="port of the web page on 127.0.0.1")] = 8321
    console_token: Annotated[
        str, Meta(description="what the page and REST ask for beyond 127.0.0.1; empty: made at each start")
    ] = ""
    console_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="how long the head of a request to the page, or its body, may take")
    ] = 10.0
    java_home: Annotated[str, Meta(description="a JDK or JRE 17+; JAVA_HOME sets it too")] = ""

    def topic(self, name: str) -> str:
        """Return the name that the broker knows for topic or consumer group `name`: the namespace prefix and it."""
        return f"{self.topic_prefix}{name}"

    def bare_topic(self, name: str) -> str:
        """Return `name` without the namespace prefix: the inverse of :meth:`topic`."""
        return name.removeprefix(self.topic_prefix)

    def unconnected(self) -> Settings:
        """Return these settings without a broker, and what it takes to reach it: an embedded one will be started."""
        return msgspec.structs.replace(self, broker="", kafka_security="")

    @property
    def state(self) -> Path:
        """The folder of one namespace's checkpoints, worker state and logs; models, lake and jars are shared by all."""
        return self.home / "runs" / (self.topic_prefix.strip(".") or "live")

    @property
    def symbol_list(self) -> tuple[str, ...]:
        """The symbols, in their given order, upper case."""
        return tuple(dict.fromkeys(part.strip().upper() for part in self.symbols.split(",") if part.strip()))

    def environment(self) -> dict[str, str]:
        """Return the variables that give another process these same settings."""
        return {PREFIX + name.upper(): _text(value) for name, value in msgspec.structs.asdict(self).items()}


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Return the settings of `environ` (the process's own by default), `overrides` that are not None on top.

    Raises
    ------
    SettingsError
        A `TICKCAST_` variable that does not exist, or a value that does not fit.
    """
    environ = os.environ if environ is None else environ
    raw: dict[str, Any] = {field: environ[name] for name, field in FOREIGN.items() if environ.get(name)}
    raw |= {name[len(PREFIX) :].lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    raw |= {name: value for name, value in overrides.items() if value is not None}
    try:
        made = msgspec.convert(raw, Settings, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise SettingsError(f"a setting does not fit: {error}; `tickcast doctor --settings` lists them all") from error
    if made.kafka_security and not made.broker:
        raise SettingsError(
            "TICKCAST_KAFKA_SECURITY needs TICKCAST_BROKER=host:port; the embedded broker is plain, on 127.0.0.1 alone"
        )
    return made


def expanded(text: str) -> str:
    """Return `text` with each `${NAME}` replaced by that variable of the environment.

    Raises
    ------
    SettingsError
        There is no such variable.
    """
    try:
        return re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], text)
    except KeyError as error:
        raise SettingsError(f"the variable {error.args[0]} is not set, and ${{{error.args[0]}}} stands for it") from None


def _decode_path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value)).expanduser()
    raise NotImplementedError(kind)
