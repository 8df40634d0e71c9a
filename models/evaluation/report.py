"""An evaluation for people: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator

from models.evaluation.summary import Figures
from streams.clock import iso

BASIS_POINT = 1e4
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c2733}"
    "table{border-collapse:collapse;font-size:13px;width:100%}th,td{padding:.25rem .5rem;border-bottom:1px solid #d8dee6;"
    "text-align:right;white-space:nowrap}th:first-child,td:first-child{text-align:left}.edge{color:#0a7f42;font-weight:600}"
    ".worse{color:#b3261e;font-weight:600}.off{color:#b3261e}.wide{overflow-x:auto}img{max-width:100%}"
    "figcaption{color:#4d5b69;font-size:13px}figure{margin:1.5rem 0}"
)
COLUMNS = (
    ("model", "the forecaster"),
    ("min", "horizon, minutes"),
    ("verdict", "Diebold-Mariano test of squared errors at 5 %"),
    ("skill", "1 - MSE / MSE of the random walk"),
    ("DM p", "its p-value, two-sided"),
    ("intervals", "the same test of the pinball losses"),
    ("skill", "1 - pinball loss / that of the random walk"),
    ("DM p", "its p-value, two-sided"),
    ("MAE bp", "mean absolute error, basis points"),
    ("RMSE bp", "root mean squared error, basis points"),
    ("CRPS bp", "twice the mean pinball loss, basis points"),
    ("MASE", "MAE over the mean absolute return in training"),
    ("R²", "of returns"),
    ("R", "of returns"),
    ("QLIKE", "loss of the variance; less is better"),
    ("50 %", "coverage"),
    ("80 %", "coverage"),
    ("95 %", "coverage"),
    ("direction", "share of rightly foreseen signs"),
    ("PT p", "Pesaran-Timmermann, one-sided, Bonferroni over symbols"),
)
NOTES = (
    "Every model was fitted on minutes before a border in time alone and forecast what came after it; nothing was tuned on the"
    " test blocks.",
    "“Edge” means: better than the random walk, and so by a Diebold-Mariano test (HAC) at 5 %. Of many tests one in twenty"
    " says so by chance: an edge of one model at one horizon is no discovery.",
    "Coverage in red is outside the 95 % binomial band, for which overlapping forecasts count once.",
    "Metrics of prices would flatter everybody: all figures are of returns.",
)


def page(figures: Figures, pictures: Iterable[tuple[str, bytes]], title: str) -> str:
    """Return the report on `figures`, as :func:`models.evaluation.summary.summary` gives them."""
    return "\n".join(
        (
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title><style>{STYLE}</style>",
            f"<h1>{html.escape(title)}</h1><p>{html.escape(_what(figures))}</p>",
            "".join(f"<p><b>{html.escape(line)}</b></p>" for line in verdicts(figures)),
            f"<div class='wide'><table><tr>{''.join(_heads())}</tr>{''.join(_rows(figures))}</table></div>",
            f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in NOTES)}</ul>",
            *(picture(caption, png) for caption, png in pictures),
            _models(figures),
            "</html>",
        )
    )


def verdicts(figures: Figures) -> Iterator[str]:
    """Yield a sentence for each model on whether its expected price, and its intervals, beat the random walk."""
    for name, reason in figures["failed"].items():
        yield f"{name}: no forecasts ({reason})"
    for name, rows in figures["models"].items():
        if name != figures["naive"]:
            point, interval = (_by_verdict(rows, field) for field in ("verdict", "interval_verdict"))
            yield f"{name}: expected price: {point}; intervals: {interval}"


def _by_verdict(rows: Figures, field: str) -> str:
    horizons: dict[str, list[str]] = {}
    for horizon, row in rows.items():
        horizons.setdefault(row[field], []).append(horizon)
    return ", ".join(f"{verdict} at {' and '.join(at)} min" for verdict, at in horizons.items())


def _what(figures: Figures) -> str:
    return (
        f"{figures['windows']:,} forecasts at each horizon for {', '.join(figures['symbols'])}, from {iso(figures['from_ts_us'])}"
        f" to {iso(figures['to_ts_us'])}, in {len(figures['borders_ts_us'])} blocks."
    )


def _heads() -> Iterator[str]:
    return (f"<th title='{html.escape(meaning, quote=True)}'>{html.escape(name)}</th>" for name, meaning in COLUMNS)


def _rows(figures: Figures) -> Iterator[str]:
    for name, rows in figures["models"].items():
        for horizon, row in rows.items():
            yield f"<tr>{''.join(_cells(name, horizon, row))}</tr>"


def _cells(name: str, horizon: str, row: Figures) -> Iterator[str]:
    yield from (f"<td>{html.escape(name)}</td>", f"<td>{horizon}</td>")
    for kind in ("", "interval_"):
        verdict = row[f"{kind}verdict"]
        skill, test = (row["skill"], row["dm"]) if not kind else (row["skill_pinball"], row["dm_pinball"])
        yield f"<td class='{verdict.split()[0]}'>{verdict}</td>"
        yield _number(skill, "+.2%")
        yield _number(test["p_value"], ".3f")
    yield from (_number(row[field] * BASIS_POINT, ".3f") for field in ("mae", "rmse", "crps"))
    yield from (_number(row[field], form) for field, form in (("mase", ".3f"), ("r2", ".4f"), ("r", ".3f"), ("qlike", ".3f")))
    for found in row["coverage"].values():
        kept = "kept" if found["kept"] else "off"
        yield f"<td class='{kept}' title='usual: {found['low']:.1%} to {found['high']:.1%}'>{found['share']:.1%}</td>"
    yield _number(row["direction"], ".1%")
    yield _number(row["pt"]["p_value"], ".3f")


def _number(value: float | None, form: str) -> str:
    return f"<td>{'-' if value is None else format(value, form)}</td>"


def picture(caption: str, png: bytes) -> str:
    """Return a figure with the picture in it."""
    inline = base64.b64encode(png).decode()
    text = html.escape(caption, quote=True)
    return f"<figure><img alt='{text}' src='data:image/png;base64,{inline}'><figcaption>{text}</figcaption></figure>"


def _models(figures: Figures) -> str:
    lines = (f"<li>{html.escape(name)}: {html.escape(', '.join(ids))}</li>" for name, ids in figures["model_ids"].items())
    return f"<h2>Models, block by block</h2><ul>{''.join(lines)}</ul>"
