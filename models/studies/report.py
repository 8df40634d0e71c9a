"""A study's report for people, one HTML file that needs nothing else, and for programs."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any

from models.evaluation.report import STYLE, picture
from models.studies.base import Column, Report, Row, Table
from models.studies.rows import spread

OWN_STYLE = (
    ".published td{color:#4d5b69;font-style:italic}.naive td{background:#f3f5f8}td.note{white-space:normal;text-align:left}"
)
KINDS = {"published": "published", "ours": "measured here", "naive": "naive"}
HEADS = ("", "what", "verdict", "note")


def page(reports: Sequence[Report]) -> str:
    """Return one page of all `reports`."""
    title = ", ".join(report.title for report in reports)
    return "\n".join(
        (
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{_text(title)}</title>",
            f"<style>{STYLE}{OWN_STYLE}</style>",
            *(_article(report) for report in reports),
            "</html>",
        )
    )


def _article(report: Report) -> str:
    return "\n".join(
        (
            f"<article><h1>{_text(report.title)}</h1><p>{_text(report.about)}</p>",
            "".join(f"<p><b>{_text(line)}</b></p>" for line in report.verdicts),
            *(_table(table) for table in report.tables),
            f"<ul>{''.join(f'<li>{_text(note)}</li>' for note in report.notes)}</ul>",
            *(picture(one.caption, one.png) for one in report.pictures),
            "</article>",
        )
    )


def figures(report: Report) -> dict[str, Any]:
    """Return `report` without its pictures as what JSON can hold; NaN is None."""
    return {
        "study": report.study,
        "title": report.title,
        "about": report.about,
        "verdicts": list(report.verdicts),
        "tables": [_figures(table) for table in report.tables],
        "notes": list(report.notes),
        "facts": _jsonable(dict(report.facts)),
    }


def cell(column: Column, row: Row, *, spreads: bool = True) -> str:
    """Return what a table shows of `row` in `column`: the mean, and where `spreads`, ± the standard deviation over seeds."""
    values = row.values.get(column.name, ())
    if not values or not all(math.isfinite(value) for value in values):
        return "-"
    mean, deviation = spread(values)
    if deviation is None or not spreads:
        return format(mean, column.form)
    return f"{format(mean, column.form)} ± {format(deviation, column.form.lstrip('+'))}"


def _table(table: Table) -> str:
    heads = [*HEADS[:2], *(f"<span title='{_text(one.meaning)}'>{_text(one.name)}</span>" for one in table.columns), *HEADS[2:]]
    body = "".join(f"<tr class='{row.kind}'>{''.join(_cells(table, row))}</tr>" for row in table.rows)
    note = f"<p>{_text(table.note)}</p>" if table.note else ""
    head = "".join(f"<th>{head}</th>" for head in heads)
    return f"<h2>{_text(table.title)}</h2><div class='wide'><table><tr>{head}</tr>{body}</table></div>{note}"


def _cells(table: Table, row: Row) -> Iterator[str]:
    yield from (f"<td>{_text(row.name)}</td>", f"<td>{KINDS[row.kind]}</td>")
    yield from (f"<td>{_text(cell(column, row))}</td>" for column in table.columns)
    yield f"<td class='{row.verdict.partition(' ')[0]}'>{_text(row.verdict)}</td><td class='note'>{_text(row.note)}</td>"


def _figures(table: Table) -> dict[str, Any]:
    rows = [
        {"name": row.name, "kind": row.kind, "verdict": row.verdict, "note": row.note, "values": _jsonable(dict(row.values))}
        for row in table.rows
    ]
    return {"title": table.title, "note": table.note, "meaning": {one.name: one.meaning for one in table.columns}, "rows": rows}


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(text: str) -> str:
    return html.escape(text, quote=True)
