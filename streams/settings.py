"""All settings, from the environment (`TICKCAST_*`); the only file that reads it.

An unknown or malformed setting is an error at once: a misspelt one must not be silently without effect.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
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
AlpacaFeed = Literal["iex", "sip"]


class Secret:
    """A password, key or token: whoever wants its text says so, and no log, table or traceback shows it.

    >>> Secret("abc"), str(Secret("abc")), Secret("abc").reveal()
    (Secret(set), '(set)', 'abc')
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __str__(self) -> str:
        return "(set)" if self._text else ""

    def __repr__(self) -> str:
        return f"Secret({self or 'empty'})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


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
    outlook: Annotated[
        str,
        Meta(description="folder with daily closes and headlines for the monthly outlook; empty: Yahoo Finance, unless offline"),
    ] = ""
    console_port: Annotated[int, Meta(ge=0, le=65535, description="port of the web page on 127.0.0.1")] = 8321
    console_token: Annotated[
        Secret, Meta(description="what the page and REST ask for beyond 127.0.0.1; empty: made at each start")
    ] = Secret()
    alpaca_key: Annotated[Secret, Meta(description="API key id of alpaca.markets")] = Secret()
    alpaca_secret: Annotated[Secret, Meta(description="API secret of alpaca.markets")] = Secret()
    alpaca_feed: Annotated[AlpacaFeed, Meta(description="iex comes with every key, sip with a subscription")] = "iex"
    alpaca_url: Annotated[str, Meta(description="host:port of another server with Alpaca's protocol; empty: Alpaca")] = ""
    polygon_key: Annotated[Secret, Meta(description="API key of massive.com, once polygon.io")] = Secret()
    polygon_url: Annotated[str, Meta(description="host:port of another server with its protocol; empty: its own")] = ""
    ccxt_url: Annotated[str, Meta(description="host:port of another server with the exchange's protocol; empty: its own")] = ""
    yfinance_url: Annotated[
        str, Meta(description="ws://host:port of another server with Yahoo's protocol of prices; empty: Yahoo")
    ] = ""
    console_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="how long the head of a request to the page, or its body, may take")
    ] = 10.0
    yfinance_proxy: Annotated[str, Meta(description="http://host:port of a proxy for yfinance; empty: none")] = ""
    poll_s: Annotated[float, Meta(ge=0.05, le=3600, description="seconds between two looks at what cannot push: feeds, news")] = (
        30.0
    )
    stale_s: Annotated[
        float, Meta(ge=0.5, le=3600, description="silence of an open market after which a line is built again")
    ] = 60.0
    companies: Annotated[str, Meta(description="a CSV with symbol,names,not: more companies, for headlines without tags")] = ""
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

    def keeping(self, secrets: Container[str]) -> Settings:
        """Return these settings without any secret but those whose names are in `secrets`."""
        return msgspec.structs.replace(self, **{name: Secret() for name in SECRETS if name not in secrets})

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

    def inherited(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process of ours that is started with these settings.

        What a file gave is said outright; the file's own variable is left out, for both together contradict each other.
        """
        files = {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
        present = (os.environ if environ is None else environ).items()
        return {name: value for name, value in present if name not in files} | self.environment()


def _text(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
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
    raw = _from_files(raw) | {name: value for name, value in overrides.items() if value is not None}
    try:
        made = msgspec.convert(raw, Settings, strict=False, dec_hook=_decode)
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


def _from_files(raw: dict[str, Any]) -> dict[str, Any]:
    """Return `raw` with each secret that is kept in a file, as `TICKCAST_ALPACA_KEY_FILE=path`, read from there."""
    read = dict(raw)
    for name in SECRETS:
        if (path := read.pop(f"{name}_file", None)) is None:
            continue
        if name in raw:
            raise SettingsError(f"{PREFIX}{name.upper()} and {PREFIX}{name.upper()}_FILE are both set; take one")
        try:
            read[name] = Path(path).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{PREFIX}{name.upper()}_FILE={path} cannot be read: {type(error).__name__}") from error
    return read


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value)).expanduser()
    if kind is Secret:
        return value if isinstance(value, Secret) else Secret(str(value))
    raise NotImplementedError(kind)


SECRETS = tuple(
    name
    for name, default in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True)
    if isinstance(default, Secret)
)
