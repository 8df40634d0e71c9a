"""`tickcast models`: the models themselves, apart from the stream. Imports happen in the commands, so that --help is quick."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.report_file import Report, write_figures
from deploy.training_cli import DAILY, FORECASTER, MONTHLY, SENTIMENT, kind_of, maybe_connected
from streams import settings
from streams.clock import iso
from streams.messages import ModelAnnouncement

app = typer.Typer(no_args_is_help=True, help="The models: list, show, promote, roll back; and those that score headlines.")
sentiment = typer.Typer(no_args_is_help=True, help="The models that score headlines.")
app.add_typer(sentiment, name="sentiment")
out = Console()

# By what a model is, the columns that say how it fared: title, metric, form.
MEASURES = {
    FORECASTER: (("skill", "skill_pinball", "{:+.2%}"), ("windows", "windows", "{:,.0f}")),
    SENTIMENT: (("log loss", "log_loss", "{:.3f}"), ("headlines", "unseen_headlines", "{:,.0f}")),
    MONTHLY: (("RMSE", "rmse", "{:.4f}"), ("months", "unseen_months", "{:,.0f}")),
    DAILY: (("RMSE, %", "rmse_per_cent", "{:.3f}"), ("days", "unseen_days", "{:,.0f}")),
}


Kind = Annotated[str, typer.Option(help="forecaster, or what `retrain --model` made: sentiment, monthly, daily")]


@app.command("list")
def listed_models(model: Kind = FORECASTER, report: Report = None) -> None:
    """List the trained models of this home, which one serves, and how they fared on what they had not seen.

    Forecasters: the newest data first, with the pinball loss that they save over a random walk on so many windows. Models of
    headlines: their log loss on so many headlines. Networks of the outlook: their squared error's root on so many months; of
    the daily study: the same in per cent of the close, on so many days.
    """
    from models import registry  # noqa: PLC0415 - the command line must answer --help at once

    config = settings.load()
    before = registry.promotions(config, kind_of(model))
    cards = registry.stored(config, model)
    table = Table("model", "serves", "data until", *(name for name, _, _ in MEASURES[model]))
    for card in cards:
        serves = "champion" if before and before[-1].model_id == card.model_id else ""
        until = iso(card.data_cutoff_ts_us)[:16] if card.data_cutoff_ts_us else "-"
        measured = (form.format(card.metrics[key]) if key in card.metrics else "-" for _, key, form in MEASURES[model])
        table.add_row(card.model_id, serves, until, *measured)
    out.print(table)
    figures = {"champion": before[-1].model_id if before else None, "promotions": msgspec.to_builtins(before)}
    write_figures({**figures, "models": msgspec.to_builtins(cards)}, report)


@app.command()
def show(model_id: Annotated[str, typer.Argument(help="one of `tickcast models list`")], report: Report = None) -> None:
    """Show all that is known of a trained model: its card, and how it fared whenever it was to be promoted."""
    from models import registry  # noqa: PLC0415 - the command line must answer --help at once

    config = settings.load()
    name = registry.name_of(config, model_id)
    stored = registry.find(config, name, model_id)
    reasons = [one.reason for one in registry.promotions(config, name) if one.model_id == model_id]
    figures = {"folder": str(stored.folder), "promotions": reasons, **msgspec.to_builtins(stored.card)}
    write_figures(figures, report)
    out.print_json(data=figures)


@app.command()
def promote(
    model_id: Annotated[str, typer.Argument(help="one of `tickcast models list`")],
    reason: Annotated[str, typer.Option(help="why, for everybody who reads `models`")] = "by hand",
    report: Report = None,
) -> None:
    """Make a stored model the champion; running consumers swap to it between two polls, without a restart."""
    from models import promoting  # noqa: PLC0415 - the command line must answer --help at once

    _announced(promoting.promote(maybe_connected(settings.load()), model_id, reason), report)


@app.command()
def rollback(
    model: Kind = FORECASTER,
    reason: Annotated[str, typer.Option(help="why, for everybody who reads `models`")] = "rolled back by hand",
    report: Report = None,
) -> None:
    """Make the champion's predecessor the champion again."""
    from models import promoting  # noqa: PLC0415 - the command line must answer --help at once

    _announced(promoting.rollback(maybe_connected(settings.load()), kind_of(model), reason), report)


@app.command()
def shadow(
    model_id: Annotated[str, typer.Argument(help="one of `tickcast models list`")],
    off: Annotated[bool, typer.Option("--off", help="end it")] = False,
    report: Report = None,
) -> None:
    """Let a stored forecaster forecast beside the champion, as challenger: it is scored live, and nobody acts on it."""
    from models import promoting  # noqa: PLC0415 - the command line must answer --help at once

    _announced(promoting.shadow(maybe_connected(settings.load()), model_id, on=not off), report)


def _announced(announcement: ModelAnnouncement, report: Path | None) -> None:
    write_figures(msgspec.to_builtins(announcement), report)
    out.print(f"{announcement.model_id}: {announcement.reason}", highlight=False)


@sentiment.command("list")
def listed() -> None:
    """List the sentiment models: which are on this machine, and how to get the others."""
    from models.sentiment import catalog  # noqa: PLC0415 - the command line must answer --help at once

    table = Table("model", "id", "here")
    for entry in catalog.entries(settings.load()):
        table.add_row(entry.name, entry.model_id or "-", entry.missing or "yes")
    out.print(table)


@sentiment.command()
def export(
    folder: Annotated[Path, typer.Argument(help="where to; TICKCAST_FINBERT=FOLDER then serves it")],
    model: Annotated[str, typer.Option(help="one of `tickcast models sentiment list`")] = "finbert-int8",
) -> None:
    """Write a model as an ONNX graph with its tokenizer and checksum, for machines without torch."""
    from models.sentiment import catalog  # noqa: PLC0415 - the command line must answer --help at once

    with out.status(f"exporting {model}"):
        model_id = catalog.export(model, folder, settings.load())
    out.print(f"{model_id} is in {folder}; TICKCAST_FINBERT={folder} serves it", highlight=False)


@sentiment.command()
def bench(
    n: Annotated[int, typer.Option(min=8, help="how many headlines each contender scores")] = 128,
    gpu: Annotated[bool, typer.Option(help="in bfloat16 on the GPU, at batch 1 to 1,024, instead")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="with --gpu: by torch.compile")] = False,
    report: Report = None,
) -> None:
    """Time a FinBERT (or a BERT-base of its shape) against transformers' pipeline(), on one model in one run."""
    from models.sentiment import bench as benching  # noqa: PLC0415 - imports torch

    with _progress() as progress, tempfile.TemporaryDirectory() as scratch:
        if gpu:
            on = benching.gpu_name()
            of, total = benching.subject(settings.load()), len(benching.GPU_BATCHES)
            rows = benching.on_gpu(of, compiled=compiled)
        else:
            on, of, total = "CPU, one thread", benching.subject(settings.load()), 5
            rows = benching.on_cpu(of, n, Path(scratch))
        found = dict(progress.track(rows, total, description=f"{of.name} on {on}"))
    figures: dict[str, Any] = found if gpu else benching.ratios(found)
    write_figures({name: {"model": of.name, "device": on, **row} for name, row in figures.items()}, report)
    _table(f"{of.name} on {on}", figures)


@sentiment.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="folder with phrasebank/ and, if you like, finbert-outputs/")] = Path(
        "../shared/data"
    ),
    model: Annotated[list[str] | None, typer.Option(help="again for more; default: all that are on this machine")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="write a reliability diagram here (png, svg or pdf); needs matplotlib")
    ] = None,
    report: Report = None,
) -> None:
    """Examine models on Financial PhraseBank: accuracy, macro-F1, confusion, calibration, agreement with FinBERT."""
    from models.sentiment import catalog, evaluation_report  # noqa: PLC0415 - the command line must answer --help at once
    from models.sentiment import evaluate as examining  # noqa: PLC0415

    config = settings.load()
    names = catalog.checked(model or catalog.present(config))
    exam = examining.read_exam(data)
    figures = {}
    with _progress() as progress:
        for name in names:
            task = progress.add_task(name, total=exam.n)
            scorer = catalog.load(name, config)
            figures[name] = examining.evaluate(scorer, exam, lambda done, task=task: progress.advance(task, done))  # type: ignore[misc]
    write_figures(figures, report)
    if plot is not None:
        evaluation_report.reliability(figures, plot)
    for line in evaluation_report.tables(figures):
        out.print(line)


@contextmanager
def _progress() -> Iterator[Progress]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield progress


def _table(title: str, figures: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(name for row in figures.values() for name in row))
    table = Table("", *(name.replace("_", " ") for name in columns), title=title)
    for name, row in figures.items():
        table.add_row(name, *(f"{row[column]:,.3g}" if column in row else "" for column in columns))
    out.print(table)
