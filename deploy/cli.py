"""The `tickcast` command. Every command's first line of help says what it is for; errors are one sentence, exit code 2."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy import (
    control_cli,
    dead_cli,
    evaluate_cli,
    forecast_cli,
    hardening_cli,
    lake_cli,
    models_cli,
    proof_cli,
    replay_cli,
    roles,
    sources_cli,
    study_cli,
    tailing,
    tape_cli,
    training_cli,
)
from deploy import doctor as doctors
from deploy.local import jars
from deploy.local.processes import STOP_TIMEOUT_S
from deploy.report_file import Report, show, write_figures
from producers import catalog
from producers.catalog import Choice
from producers.prints import Prints
from streams import bus, settings
from streams.errors import EnvironmentFault, SettingsError, UserError
from streams.settings import Settings
from streams.topics import TOPICS

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="tickcast: ticks and headlines in, forecasts with intervals out, each scored live against a random walk. "
    "Begin with `tickcast up`; settings are TICKCAST_* variables (`tickcast doctor --settings` lists them).",
)
out = Console()

Source = Annotated[
    str,
    typer.Option(
        help="shorthand: this source for ticks and headlines, as far as it has them: NAME[:ARG] of `tickcast sources list`"
    ),
]
Ticks = Annotated[str, typer.Option(help="where ticks come from: NAME[:ARG], or none")]
Headlines = Annotated[str, typer.Option(help="where headlines come from: NAME[:ARG], or none")]
Replay = Annotated[str, typer.Option(help="shorthand: a folder with ticks.* and headlines.* to replay")]
Speed = Annotated[str, typer.Option(help="of a replay: 1 as it was, 60 a minute a second, max as fast as rows become final")]
Rate = Annotated[float, typer.Option(help="of the simulated market: ticks a second over all symbols")]
Seed = Annotated[int, typer.Option(help="of the simulated market")]
Filter = Annotated[
    Prints, typer.Option("--prints", help="regular: bars leave out irregular and erroneous trades (docs/prints.md)")
]
Symbols = Annotated[str | None, typer.Option(help="comma separated; default: TICKCAST_SYMBOLS")]


@app.callback()
def begin(supervised: Annotated[bool, typer.Option(hidden=True, help="end when the parent process does")] = False) -> None:
    """Prepare what every command needs."""
    if supervised:
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True, name="parent").start()


def configured(**overrides: Any) -> Settings:
    """Return the settings of the environment with the command's own options on top."""
    return settings.load(None, **overrides)


def connected(**overrides: Any) -> Settings:
    """Return settings with a broker: the one that is set, or the one that `tickcast up` runs from this home."""
    return bus.find_broker(configured(**overrides))


def chosen(
    source: str, ticks: str, headlines: str, replay: str, rate: float, seed: int, prints: Prints
) -> tuple[Choice, tuple[str, ...]]:
    """Return the choice of sources, and the arguments that make `tickcast produce` choose the same."""
    whole = f"replay:{replay}" if replay else source
    ticks, headlines = ticks or whole, headlines or whole
    choice = Choice(catalog.parse(ticks), catalog.parse(headlines), rate, seed, prints)
    market = ("--rate", str(rate), "--seed", str(seed))
    return choice, ("--ticks", ticks, "--headlines", headlines, *market, "--prints", prints)


@app.command()
def up(
    source: Source = "simulated",
    ticks: Ticks = "",
    headlines: Headlines = "",
    replay: Replay = "",
    speed: Speed = "1",
    rate: Rate = 60.0,
    seed: Seed = 1,
    symbols: Symbols = None,
    prints: Filter = "all",
    headless: Annotated[bool, typer.Option(help="no web page")] = False,
    until_drained: Annotated[bool, typer.Option(help="end when the tape has gone through every stage")] = False,
    duration: Annotated[float, typer.Option(help="end after so many seconds of everything running")] = 0.0,
    report: Annotated[Path | None, typer.Option("--report", "--json", help="write the figures of a run that ends")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
    retrain: Annotated[str, typer.Option(help="how often to train again, besides after drift, as 12h or 1d; off: never")] = "1d",
) -> None:
    """Run everything: broker, producer, features, sentiment, forecasts, scores, the page. Ctrl-C stops it cleanly."""
    from deploy import up as whole  # noqa: PLC0415 - the command line must answer --help at once

    speed_of(speed)
    choice, arguments = chosen(source, ticks, headlines, replay, rate, seed, prints)
    options = whole.Options(
        choice=choice,
        arguments=(*arguments, "--speed", speed),
        headless=headless,
        until_drained=until_drained,
        duration_s=duration,
        report=report,
        open_page=open_page,
        retrain=() if until_drained or duration or retrain == "off" else ("--every", retrain, "--on-drift"),
    )
    if retrain != "off":
        training_cli.seconds_of(retrain)
    if until_drained and "replay" not in choice.names:
        raise SettingsError("--until-drained needs a tape that ends: add --replay DIR")
    figures = whole.run(configured(symbols=symbols), options, out)
    if figures is not None:
        out.print_json(data=figures)
    elif options.bounded:
        raise typer.Exit(1)


def speed_of(text: str) -> str:
    """Return `text` where it is a speed: a number above 0, or max."""
    try:
        good = text == "max" or 0 < float(text) < float("inf")
    except ValueError:
        good = False
    if not good:
        raise SettingsError(f"--speed is a number above 0 or max, not {text!r}")
    return text


@app.command()
def produce(
    source: Source = "simulated",
    ticks: Ticks = "",
    headlines: Headlines = "",
    replay: Replay = "",
    speed: Speed = "1",
    rate: Rate = 60.0,
    seed: Seed = 1,
    symbols: Symbols = None,
    prints: Filter = "all",
) -> None:
    """Send ticks, headlines and the closings of their minutes, from a source; starts again where it stopped."""
    from producers import run as producing  # noqa: PLC0415 - the command line must answer --help at once

    config = connected(symbols=symbols)
    choice, _ = chosen(source, ticks, headlines, replay, rate, seed, prints)
    producing.run(config, catalog.open_source(choice, config), speed_of(speed))


@app.command()
def stream(
    engine: Annotated[
        str | None, typer.Option(help="realtime (milliseconds), microbatch (throughput), or auto: realtime unless far behind")
    ] = None,
) -> None:
    """Run the feature engine: ticks and sentiment to minute bars with rolling features."""
    roles.stream(connected(engine=engine))


@app.command()
def archive() -> None:
    """Run the archive: what flows goes to the lake, and what the feature engine refuses to dead_letters."""
    roles.archive(connected())


@app.command()
def sentiment() -> None:
    """Run the sentiment consumer: headlines to P(positive), P(negative), P(neutral)."""
    roles.sentiment(connected())


@app.command()
def forecast() -> None:
    """Run the forecaster: feature rows to forecasts of the baseline and of the newest promoted model."""
    roles.forecast(connected())


@app.command()
def score() -> None:
    """Run the scorer: every forecast against what came, and against a random walk."""
    roles.score(connected())


app.command()(training_cli.etl)
app.command()(training_cli.train)
app.command()(training_cli.retrain)


@app.command()
def steward() -> None:
    """Run the steward: what is ordered on the page (promote, roll back, redrive, start a replay) is carried out."""
    roles.steward(connected())


@app.command()
def console(
    host: Annotated[str, typer.Option(help="address to bind; beyond 127.0.0.1 only where you mean it")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="default: TICKCAST_CONSOLE_PORT, 8321")] = None,
    outlook_only: Annotated[bool, typer.Option("--outlook-only", help="the monthly outlook alone, without Kafka")] = False,
    data: Annotated[Path | None, typer.Option(help="folder of daily closes and headlines; default: TICKCAST_OUTLOOK")] = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="with --outlook-only: as if files ended then")
    ] = None,
) -> None:
    """Run the web page: live prices, forecasts and the health of every process."""
    files = None if data is None else str(data)
    if as_of is not None and not outlook_only:
        raise SettingsError("--as-of goes with --outlook-only: the market of the other tabs is of now")
    if outlook_only:
        roles.outlook_console(configured(console_port=port, outlook=files), host, as_of.date() if as_of else None)
    else:
        roles.console(connected(console_port=port, outlook=files), host)


@app.command()
def broker(
    port: Annotated[int, typer.Option(help="0: a free one")] = 0,
    properties: Annotated[Path | None, typer.Option(help="a file with more of Kafka's properties, which win over ours")] = None,
) -> None:
    """Run the embedded Kafka broker alone."""
    from deploy import up as whole  # noqa: PLC0415 - the command line must answer --help at once

    whole.broker_only(configured(), port, properties)


@app.command("jars")
def fetch_jars() -> None:
    """Fetch the jars of the broker and of Spark's Kafka connector into the cache; done by itself where they are missing."""
    out.print(str(jars.folder(configured(), "broker").parent), highlight=False)


@app.command()
def topics() -> None:
    """List the topics: what they hold, their partitions and how many records they have."""
    config = connected()
    table = Table("topic", "partitions", "records", "kind", "what it holds")
    client = bus.consumer(config)
    if not bus.partitions_of(client, config, *TOPICS):
        raise EnvironmentFault(f"the broker at {config.broker} has no topics for this client; start any role, it creates them")
    for topic in TOPICS.values():
        places = bus.partitions_of(client, config, topic.name)
        held = sum(client.end_offsets(places).values()) - sum(client.beginning_offsets(places).values()) if places else 0
        table.add_row(config.topic(topic.name), str(len(places)), f"{held:,}", topic.cleanup, topic.purpose)
    client.close()
    out.print(table)


@app.command()
def tail(
    topic: Annotated[str, typer.Argument(help="one of `tickcast topics`, without its prefix")],
    symbols: Annotated[str, typer.Option(help="only these keys, comma separated")] = "",
    last: Annotated[int, typer.Option(help="how many records of each partition to show before new ones; -1: all")] = 5,
    follow: Annotated[bool, typer.Option(help="go on with what arrives; --no-follow ends instead")] = True,
) -> None:
    """Print a topic's records, one JSON a line, so that `jq` can go on from there."""
    if topic not in TOPICS:
        raise SettingsError(f"there is no topic {topic!r}; there are {', '.join(TOPICS)}")
    config = connected()
    keys = {key.encode() for key in symbols.split(",") if key}
    for record in tailing.records(config, topic, last, follow=follow):
        if not keys or record.key in keys:
            sys.stdout.write((record.value or b"null").decode(errors="replace") + "\n")
            sys.stdout.flush()


@app.command()
def watch(
    symbols: Annotated[str, typer.Option(help="only these, comma separated")] = "",
    horizon: Annotated[int, typer.Option(min=1, help="minutes ahead: 1, 5 or 15")] = 5,
    once: Annotated[bool, typer.Option("--once", help="print the table once, when the topics have been read, and end")] = False,
) -> None:
    """Watch prices, expected moves with their 80 % intervals, and what the scores say of them, in the terminal."""
    from deploy import watch_cli  # noqa: PLC0415 - the command line must answer --help at once

    watch_cli.watch(connected(), {symbol.strip().upper() for symbol in symbols.split(",") if symbol.strip()}, horizon, once=once)


@app.command()
def doctor(
    role: Annotated[str, typer.Option(help="exit 0 only if this role said within 30 s that it is ready")] = "",
    show_settings: Annotated[bool, typer.Option("--settings", help="list every setting and its value")] = False,
    audit: doctors.Audit = False,
    minutes: doctors.Minutes = 15.0,
    report: doctors.Report = None,
) -> None:
    """Check this machine and the running system, and say what to do about what is wrong."""
    config = configured()
    if show_settings:
        out.print(doctors.settings_table(config))
    elif audit:
        raise typer.Exit(0 if doctors.balances(connected(), minutes, report, out) else 1)
    elif role:
        raise typer.Exit(0 if doctors.is_ready(connected(), role) else 1)
    else:
        raise typer.Exit(0 if doctors.examine(config, out) else 1)


app.add_typer(models_cli.app, name="models")
app.add_typer(study_cli.app, name="study")
verify_app = typer.Typer(no_args_is_help=True, help="Check claims about the system against independent computations.")
app.add_typer(verify_app, name="verify")


@verify_app.command()
def parity(
    tape: Annotated[Path, typer.Option(help="a folder with ticks.* and, if there are any, headlines.*")],
    shuffle_s: Annotated[float, typer.Option("--shuffle-s", help="delay every trade by 0 to so many seconds")] = 0.0,
    duplicates: Annotated[float, typer.Option(help="share of the trades that come twice")] = 0.0,
    late: Annotated[float, typer.Option(help="share of the trades that come 1 to 9.5 minutes late")] = 0.0,
    engine: Annotated[str | None, typer.Option(help="realtime, microbatch, or switch: one, the other, and back")] = None,
    kills: Annotated[int, typer.Option(help="kill -9 the engine, and with --lake the archive, so often on the way")] = 0,
    lake: Annotated[bool, typer.Option("--lake", help="also run the archive, and compare the lake")] = False,
    seed: Seed = 1,
    prints: Filter = "all",
    quick: Annotated[bool, typer.Option(help="the first 4,000 trades only")] = False,
    report: Report = None,
) -> None:
    """Stream a tape, disturbed, and compare every row with a whole, sorted computation that shares no code."""
    from deploy.verify import parity as check  # noqa: PLC0415 - the command line must answer --help at once
    from deploy.verify.disturbed import Disturbance  # noqa: PLC0415
    from producers import prints as marking  # noqa: PLC0415

    config = configured(engine=None if engine == "switch" else engine)
    trial = check.Trial(Disturbance(shuffle_s, duplicates, late, seed), kills, engine == "switch", lake)
    figures = check.run(config, marking.of(check.open_tape(tape, quick), prints), trial)
    out.print_json(data=figures)
    write_figures(figures, report)
    if not figures["holds"]:
        raise typer.Exit(1)


app.add_typer(tape_cli.app, name="tape")
app.add_typer(sources_cli.app, name="sources")
app.add_typer(dead_cli.app, name="dead")
app.command()(replay_cli.record)
app.command()(replay_cli.replay)
app.add_typer(control_cli.app, name="control")


@verify_app.command()
def coverage(
    data: Annotated[list[Path] | None, typer.Option(help="a folder of tick or minute-bar files; may be repeated")] = None,
    seed: Seed = 1,
    report: Report = None,
) -> None:
    """Count how often intervals hold the price that came, before calibration and after, simulated and on files."""
    from consumers.forecaster import MODEL  # noqa: PLC0415 - the command line must answer --help at once
    from deploy.verify import coverage as check  # noqa: PLC0415
    from models import registry  # noqa: PLC0415
    from models.forecaster import onnx_model  # noqa: PLC0415

    stored = registry.newest(configured(), MODEL)
    champion = stored and onnx_model.load(stored.announcement(promoted=True, reason="coverage"))
    figures = check.run(data or [], seed, champion, lambda name: out.print(f"{name} …"))
    show(figures, check.as_table(figures), report)


verify_app.command()(forecast_cli.controls)
verify_app.command()(forecast_cli.lookahead)
verify_app.command("retrain")(training_cli.verify)
verify_app.command("training")(training_cli.verify_kills)
verify_app.command()(proof_cli.replay)
verify_app.command()(proof_cli.contract)
verify_app.command()(proof_cli.faults)
verify_app.command()(hardening_cli.security)
verify_app.command()(hardening_cli.fuzz)
verify_app.command()(hardening_cli.burst)
verify_app.command("all")(proof_cli.everything)
app.add_typer(lake_cli.app, name="lake")
app.command()(lake_cli.ingest)
app.command()(evaluate_cli.evaluate)
bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine on the whole pipeline.")
app.add_typer(bench_app, name="bench")


@bench_app.command()
def latency(
    rate: Rate = 60.0,
    seconds: Annotated[float, typer.Option(help="how long to measure, once everything runs")] = 120.0,
    engine_only: Annotated[bool, typer.Option(help="the feature engine alone, in real time, then in micro-batches")] = False,
    symbols: Annotated[int, typer.Option(help="with --engine-only: of how many symbols")] = 6,
    report: Report = None,
) -> None:
    """Time ticks on their way to features and to forecasts, every process running on this machine."""
    from deploy import bench, bench_engine  # noqa: PLC0415 - the command line must answer --help at once

    if engine_only:
        _show(bench_engine.latency(configured(), bench_engine.Load(rate, symbols, seconds), out), bench_engine.table, report)
        return
    figures = bench.latency(configured(), rate, seconds, report, out)
    if figures is None:
        raise typer.Exit(1)
    out.print(bench.latency_table(figures))


@bench_app.command()
def throughput(
    rate: Rate = 10_000.0,
    symbols: Annotated[int, typer.Option(help="of how many symbols")] = 100,
    seconds: Annotated[float, typer.Option(help="how long real time must hold the rate; 0: not measured")] = 300.0,
    backlog: Annotated[int, typer.Option(help="ticks that micro-batches have to catch up with; 0: not measured")] = 2_000_000,
    report: Report = None,
) -> None:
    """Load the feature engine: what rate real time holds at which latency, and how fast micro-batches catch up."""
    from deploy import bench_engine  # noqa: PLC0415 - the command line must answer --help at once

    load = bench_engine.Load(rate, symbols, seconds)
    _show(bench_engine.throughput(configured(), load, backlog, out), bench_engine.table, report)


def _show(figures: dict[str, Any], table: Callable[[dict[str, Any]], Table], report: Path | None) -> None:
    out.print(table(figures))
    write_figures(figures, report)


@bench_app.command()
def week(
    days: Annotated[int, typer.Option(min=3, help="sessions behind three to fill up; the last is held against the second")] = 5,
    symbols: Annotated[int, typer.Option(min=1, help="of how many symbols")] = 6,
    report: Report = None,
) -> None:
    """Run the feature engine through a simulated trading week: its state, memory and checkpoint must not grow."""
    from deploy import bench_week  # noqa: PLC0415 - the command line must answer --help at once

    figures = bench_week.run(configured(), days, symbols, out)
    show(figures, bench_week.table(figures), report)


bench_app.command("forecast")(forecast_cli.bench_forecast)


@bench_app.command("train")
def bench_train(
    workers: Annotated[str, typer.Option(help="how many, comma separated, 1 among them")] = "1,2",
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    report: Report = None,
) -> None:
    """Time the input pipeline and the training, and hold several workers against one: loss by loss, weight by weight."""
    from deploy import bench_train as bench  # noqa: PLC0415 - the command line must answer --help at once

    try:
        counts = [int(count) for count in workers.split(",")]
    except ValueError as error:
        raise SettingsError(f"--workers is numbers with commas between them, not {workers!r}") from error
    with out.status("") as status:
        figures = bench.run(configured(), counts, epochs, status.update)
    show(figures, bench.table(figures), report)


@bench_app.command("forecast-call")
def bench_forecast_call(
    windows: Annotated[int, typer.Option(min=1, help="of the one large batch")] = 1_000,
    report: Report = None,
) -> None:
    """Time one forecast of the LSTM as it is served, against Keras's predict and an eager call, and one large batch."""
    from deploy import bench_forecast_call as bench  # noqa: PLC0415 - the command line must answer --help at once

    figures = bench.run(windows)
    write_figures(figures, report)
    out.print_json(data=figures)


@bench_app.command("console")
def bench_console(
    browsers: Annotated[int, typer.Option(min=1, help="open pages")] = 50,
    rate: Annotated[float, typer.Option(min=1, help="rows a second, of 10 symbols together")] = 100.0,
    seconds: Annotated[float, typer.Option(min=2, help="how long to measure")] = 60.0,
    report: Report = None,
) -> None:
    """Time rows from the broker to open pages, and see what that costs and whether the console grows."""
    from deploy import bench_console as bench  # noqa: PLC0415 - the command line must answer --help at once

    with out.status("starting a broker") as status:
        figures = bench.run(configured(), browsers, rate, seconds, status.update)
    show(figures, bench.table(figures), report)


@bench_app.command("outlook")
def bench_outlook(
    requests: Annotated[int, typer.Option(min=20, help="how many to time")] = 300,
    data: Annotated[Path | None, typer.Option(help="folder of daily closes and headlines; default: made up")] = None,
    report: Report = None,
) -> None:
    """Time `POST /v1/outlook` over HTTP from a warm cache: prices fetched and headlines scored before, everything else anew."""
    from deploy import bench_outlook as bench  # noqa: PLC0415 - the command line must answer --help at once

    with out.status("") as status:
        figures = bench.run(configured(), requests, data, status.update)
    show(figures, bench.table(figures), report)


@bench_app.command("page")
def bench_page(
    rate: Rate = 60.0,
    seconds: Annotated[float, typer.Option(min=0, help="how long to time ticks, everything running; 0: not measured")] = 120.0,
    minutes: Annotated[int, typer.Option(min=0, help="market minutes to send, one a second; 0: not measured")] = 240,
    report: Report = None,
) -> None:
    """Time ticks on their way to the pixels of a real Chromium, and see how soon the page is there and whether it grows."""
    from deploy import bench_page as bench  # noqa: PLC0415 - the command line must answer --help at once

    if minutes and minutes < bench.LEAST_MINUTES:
        raise SettingsError(f"--minutes is 0, or at least {bench.LEAST_MINUTES}: memory is looked at in its middle")
    with out.status("starting a broker") as status:
        figures = bench.run(configured(), rate, seconds, minutes, status.update)
    show(figures, bench.table(figures), report)


@bench_app.command("sentiment")
def bench_sentiment(
    data: Annotated[Path | None, typer.Option(help="CSV with a column title or text; default: our own, numbered")] = None,
    n: Annotated[int, typer.Option(help="how many headlines for the group that is killed; 0: all of them, or 3,000")] = 0,
    speed_n: Annotated[int, typer.Option(help="how many distinct ones for the speed")] = 3_000,
    report: Report = None,
) -> None:
    """Score headlines through Kafka: how near to the bare model's speed, and what three kills and two rebalances lose."""
    from deploy import bench_headlines, bench_sentiment  # noqa: PLC0415 - the command line must answer --help at once

    figures = bench_sentiment.run(configured(), bench_headlines.read(data, n), speed_n, out)
    show(figures, bench_sentiment.table(figures), report)


def main() -> None:
    """Run the command; an error that a person can mend is one sentence on stderr and exit code 2."""
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"tickcast: {error}\n")
        sys.exit(1 if error.retriable and "--supervised" in sys.argv else 2)  # 2 tells the supervisor not to try again


def _end_with_parent(parent: int) -> None:
    """Stop this process once the one that started it is gone: a killed supervisor leaves nothing behind."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_TIMEOUT_S)
    os._exit(1)  # the broker went the same way, and a flush waits for it
