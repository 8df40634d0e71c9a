"""`tickcast etl`, `tickcast train` and `tickcast retrain`. Imports happen in the commands, so that --help is quick."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy import roles
from deploy.report_file import Report, show, write_figures
from streams import bus, settings
from streams.errors import EnvironmentFault, SettingsError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

out = Console()
Epochs = Annotated[int, typer.Option(min=1, help="at most so many; two without improvement end it earlier")]
Seed = Annotated[int, typer.Option(help="of everything random: the same seed, lake and machine give the same model")]
Windows = Annotated[int, typer.Option(min=256, help="at most so many windows for training, a random choice of what there is")]
Newest = Annotated[str, typer.Option(help="learn from the newest so much of the lake alone, as 90m, 12h or 30d; default: all")]
Workers = Annotated[int, typer.Option(min=1, max=64, help="processes on this machine that share each batch")]
Strategy = Annotated[str, typer.Option(help="one device, mirrored over all of this machine, or auto: mirrored if several GPUs")]
Precision = Annotated[str, typer.Option(help="float32, bfloat16 (mixed), or auto: bfloat16 where there are GPUs that have it")]
Shadow = Annotated[bool, typer.Option(help="where it is not promoted: let it forecast beside the champion, as challenger")]
Ablated = Annotated[
    bool, typer.Option("--ablation/--no-ablation", help="train without sentiment too, and say what that is worth")
]
FORECASTER, SENTIMENT, MONTHLY, DAILY = "forecaster", "sentiment", "monthly", "daily"  # as the store names them
KINDS = (FORECASTER, SENTIMENT, MONTHLY, DAILY)
EPOCHS = {FORECASTER: 12, SENTIMENT: 12, MONTHLY: 120, DAILY: 30}
JUDGED_BY = {MONTHLY: "months", DAILY: "days"}  # of the studies
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def etl(report: Report = None) -> None:
    """Bring the training shards up to date with the lake: cleaned, cut into windows, as TFRecord; only what is new is made."""
    from models.training import etl as making  # noqa: PLC0415 - starts Spark
    from models.training import session, shards  # noqa: PLC0415

    config = settings.load()
    with Progress(console=Console(stderr=True), transient=True) as progress, session.alone(config):
        task = progress.add_task("making shards", total=None)
        index = making.run(config, lambda done, total: progress.update(task, completed=done, total=total))
    removed: dict[str, int] = {}
    for shard in index.shards:
        for reason, count in shard.removed.items():
            removed[reason] = removed.get(reason, 0) + count
    figures = {
        "shards": len(index.shards),
        "symbols": len({shard.symbol for shard in index.shards}),
        "minutes": sum(shard.rows for shard in index.shards),
        "removed": removed,
        "windows": index.windows,
        "fingerprint": index.fingerprint(),
        "folder": str(shards.folder(config)),
    }
    write_figures(figures, report)
    out.print_json(data=figures)


def train(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    epochs: Epochs = 12,
    seed: Seed = 7,
    windows: Windows = 20_000,
    newest: Newest = "",
    precision: Precision = "auto",
    workers: Workers = 1,
    strategy: Strategy = "auto",
    shadow: Shadow = False,
    ablation: Ablated = True,
    ensure: Annotated[
        bool, typer.Option(help="only where there is no model yet; on simulated history if the lake is empty")
    ] = False,
    report: Report = None,
) -> None:
    """Train the LSTM on the lake, compare it with the champion and with a random walk on unseen minutes, promote it or not."""
    if ensure:
        roles.train(bus.find_broker(settings.load()))
        return
    _train(_choice(epochs, seed, windows, newest, precision), _how(workers, strategy, shadow, ablation), report)


def retrain(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    every: Annotated[str, typer.Option(help="again and again, as 90s, 30m, 12h or 1d; default: once, now")] = "",
    on_drift: Annotated[
        bool, typer.Option(help="with --every: also after drift, a quarter of --every after the last one at the soonest")
    ] = False,
    settle: Annotated[str, typer.Option(help="how long after a drift: the lake must hold minutes of what came after it")] = "30m",
    epochs: Annotated[int | None, typer.Option(min=1, help="at most so many; default: 12, monthly 120, daily 30")] = None,
    seed: Seed = 7,
    windows: Windows = 20_000,
    newest: Newest = "",
    precision: Precision = "auto",
    shadow: Shadow = False,
    ablation: Ablated = True,
    model: Annotated[
        str,
        typer.Option(
            help="forecaster; sentiment: of headlines, on --labels; monthly: of the outlook, daily: of the daily study, on --data"
        ),
    ] = FORECASTER,
    labels: Annotated[
        Path | None, typer.Option(help="of headlines: a CSV with the columns label (positive, negative, neutral) and text")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="monthly, daily: folder with us-daily/, monthly with headlines*/ too; default: as `tickcast study`"),
    ] = None,
    report: Report = None,
) -> None:
    """Train again on what the lake holds now, once or on a schedule, at low priority; what serves goes on meanwhile.

    With `--model sentiment --labels FILE`: fit MiniLM's adapter and head again to labelled headlines, once. With `--model monthly
    --data DIR`: fit the networks of the outlook again to the daily closes and headlines there, once. With `--model daily --data
    DIR`: train the daily study's network, which nothing serves, on the daily bars there, once.
    """
    epochs = epochs or EPOCHS[kind_of(model)]
    if model == SENTIMENT:
        _retrain_sentiment(labels, every, epochs, seed, report)
    elif model in JUDGED_BY:
        _retrain_study(model, data, every, epochs, seed, report)
    elif not every:
        _train(_choice(epochs, seed, windows, newest, precision), _how(1, "auto", shadow, ablation), report)
    else:
        from deploy import retraining  # noqa: PLC0415 - the command line must answer --help at once

        choice = (
            "--epochs",
            str(epochs),
            "--seed",
            str(seed),
            "--windows",
            str(windows),
            *(("--newest", newest) if newest else ()),
            "--precision",
            precision,
        )
        how = (*(("--shadow",) if shadow else ()), *(() if ablation else ("--no-ablation",)))
        plan = retraining.Plan(seconds_of(every), seconds_of(settle) if on_drift else None, (*choice, *how))
        retraining.run(bus.find_broker(settings.load()), plan)


def verify(
    plot: Annotated[Path | None, typer.Option(help="write a picture of the run here (png, svg or pdf); needs matplotlib")] = None,
    report: Report = None,
) -> None:
    """Let a market change while everything runs: is that seen, trained for and served, and does skill come back? 20 minutes."""
    from deploy.verify import retrained  # noqa: PLC0415 - the command line must answer --help at once

    figures = retrained.run(settings.load(), retrained.FULL, out, plot)
    show(figures, retrained.as_table(figures), report)


def verify_kills(
    kills: Annotated[int, typer.Option(min=1, help="trainings that are killed in each of the four steps")] = 5,
    seed: Annotated[int, typer.Option(help="decides at which points")] = 1,
    step: Annotated[str, typer.Option(help="only in this step: etl, training, registration or promotion")] = "",
    quick: Annotated[bool, typer.Option(help="one kill in each step")] = False,
    report: Report = None,
) -> None:
    """Kill -9 trainings at random points of ETL, training, registration, promotion: the next must end like an undisturbed one."""
    from deploy.verify import training  # noqa: PLC0415 - the command line must answer --help at once

    figures = training.run(settings.load(), 1 if quick else kills, seed, out, training.steps_of(step))
    show(figures, training.as_table(figures), report)


def kind_of(text: str) -> str:
    """Return `text` where it names a kind of model that is trained here."""
    if text not in KINDS:
        raise SettingsError(f"there is no model {text!r} to train; there are {', '.join(KINDS)}")
    return text


def seconds_of(text: str) -> float:
    """Return the seconds of `text`, a number and s, m, h or d.

    Raises
    ------
    SettingsError
        It is nothing of the kind, or nothing above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None or float(found[1]) == 0:
        raise SettingsError(f"{text!r} is no length of time; write it as 90s, 30m, 12h or 1d")
    return float(found[1]) * UNITS_S[found[2]]


def _retrain_sentiment(labels: Path | None, every: str, epochs: int, seed: int, report: Path | None) -> None:
    if labels is None or every:
        raise SettingsError("--model sentiment needs --labels FILE, and takes no --every: labels do not grow by the clock")
    from models.sentiment import refit  # noqa: PLC0415 - the command line must answer --help at once

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading labels", total=epochs + 1)
        announcement = refit.refit(
            maybe_connected(settings.load()),
            labels,
            epochs=epochs,
            seed=seed,
            tell=lambda what: progress.update(task, advance=1, description=what),
        )
    _show(announcement, "on unseen headlines", report)


def _retrain_study(  # noqa: PLR0913, PLR0917 - as the command's
    model: str, data: Path | None, every: str, epochs: int, seed: int, report: Path | None
) -> None:
    if every:
        raise SettingsError(f"--model {model} takes no --every: files do not grow by the clock; run it once they have")
    from deploy import study_cli  # noqa: PLC0415 - the command line must answer --help at once
    from models.studies import daily_refit, monthly_file, monthly_refit  # noqa: PLC0415
    from models.studies.base import Options  # noqa: PLC0415

    with study_cli.telling() as tell:
        config = maybe_connected(settings.load())
        options = Options(config, study_cli.data_folder(data), seeds=monthly_file.SEEDS, tell=tell)
        refit = monthly_refit.refit if model == MONTHLY else daily_refit.refit
        announcement = refit(options, seed=seed, epochs=epochs)
    _show(announcement, f"on unseen {JUDGED_BY[model]}", report)


def _choice(epochs: int, seed: int, windows: int, newest: str, precision: str) -> Any:
    from models.training.job import Choice  # noqa: PLC0415 - the command line must answer --help at once

    minutes = round(seconds_of(newest) / UNITS_S["m"]) if newest else 0
    asked = {"epochs": epochs, "seed": seed, "limit": windows, "newest_min": minutes, "precision": precision}
    try:
        return msgspec.convert(asked, Choice)
    except msgspec.ValidationError as error:
        raise SettingsError(f"there is no precision {precision!r}; there are auto, float32 and bfloat16") from error


def _how(workers: int, strategy: str, shadow: bool, ablation: bool) -> Any:
    from models.training.train import How  # noqa: PLC0415 - the command line must answer --help at once

    try:
        return msgspec.convert({"workers": workers, "strategy": strategy, "shadow": shadow, "ablation": ablation}, How)
    except msgspec.ValidationError as error:
        raise SettingsError(f"there is no strategy {strategy!r}; there are auto, one and mirrored") from error


def _train(choice: Any, how: Any, report: Path | None) -> None:
    from models.training import train as training  # noqa: PLC0415 - the command line must answer --help at once

    _show(training.train(maybe_connected(settings.load()), choice, how), "on unseen minutes", report)


def _show(announcement: ModelAnnouncement, judged: str, report: Path | None) -> None:
    write_figures(msgspec.to_builtins(announcement), report)
    out.print(f"{announcement.model_id}: {announcement.reason}", highlight=False, soft_wrap=True)
    table = Table(judged, "")
    for name, value in announcement.metrics.items():
        table.add_row(name.replace("_", " "), f"{value:.4g}")
    out.print(table)


def maybe_connected(config: Settings) -> Settings:
    """Return settings with a broker where one runs: what is trained without one is served by the next `tickcast up`."""
    try:
        return bus.find_broker(config)
    except EnvironmentFault:
        return config
