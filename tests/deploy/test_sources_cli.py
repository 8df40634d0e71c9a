"""`tickcast sources`: what it lists, how it looks at a source, and what it measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.doctor import settings_table
from deploy.sources_cli import Looking
from streams import settings
from streams.errors import SourceError
from streams.settings import Secret
from tests.producers.vendors import sources
from tests.producers.vendors.servers import serving
from tests.producers.vendors.sources import KINDS

TICKS = "event_ts_us,symbol,price,size\n" + "".join(f"{1_340_285_400_000_000 + k},AAPL,{k + 1},1\n" for k in range(7))


def test_every_source_is_listed_with_what_it_takes_and_whose_terms_apply() -> None:
    said = CliRunner().invoke(app, ["sources", "list"], env={"COLUMNS": "200"}).stdout
    names = ("yfinance", "alpaca", "polygon", "ccxt", "file", "rss", "jsonfeed", "simulated", "replay")
    assert all(name in said for name in names)
    assert "TICKCAST_ALPACA_KEY" in said


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_source_is_connected_and_shown(name: str) -> None:
    kind = KINDS[name]
    server = kind.server()
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)

    with serving(server), sources.trading(server, kind.symbols):
        assert Looking(5, 20, tell).at(kind.ticks, kind.settings(server, settings.load({})))
    assert sum(" ms" in line and line[:2] == "20" for line in lines) == 5
    assert any("least delay" in line for line in lines)


def test_a_tape_is_shown_too_and_what_is_wrong_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "ticks.csv").write_text(TICKS)
    done = CliRunner().invoke(app, ["sources", "check", f"replay:{tmp_path}"])
    assert (done.exit_code, done.stdout.count("AAPL")) == (0, 5)
    wrong = CliRunner().invoke(app, ["sources", "check", "alpaca"], env={"TICKCAST_ALPACA_KEY": ""})
    assert isinstance(wrong.exception, SourceError)


def test_a_source_that_says_nothing_is_not_well(tmp_path: Path) -> None:
    lines: list[str] = []
    server = KINDS["ccxt"].server()
    with serving(server):
        assert not Looking(5, 2, lines.append).at("ccxt", KINDS["ccxt"].settings(server, settings.load({})))
    assert lines[-1] == "NOT well: nothing came within 2 s"


def test_the_settings_are_shown_without_secrets() -> None:
    config = settings.load(
        {}, alpaca_key="AK-1", console_token="T-1", tracking="https://me:pw@example.org/mlflow", yfinance_proxy="http://u:p@h:1"
    )
    cells = [str(cell) for column in settings_table(config).columns for cell in column.cells]
    assert not any(secret in cell for cell in cells for secret in ("AK-1", "T-1", "pw", "u:p"))
    assert cells.count("(set)") == 2
    assert isinstance(config.alpaca_key, Secret)


def test_the_precision_of_names_is_measured_on_a_whole_newswire(shared_data: Path, tmp_path: Path) -> None:
    arguments = [
        "sources",
        "tag-precision",
        "--data",
        str(shared_data / "headlines-2007-2016"),
        "--json",
        str(tmp_path / "f.json"),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    figures = json.loads((tmp_path / "f.json").read_text())
    assert (figures["read"], figures["right"], figures["unjudged"]) == (148, 144, 0)
    assert 0.93 < figures["low"] < figures["precision"] < figures["high"] < 0.99
    assert figures["agrees"] > 0.99
    assert 0.8 < figures["recalled"] < 0.9
