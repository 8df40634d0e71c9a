"""The frame of all studies: rows, reports, files of daily prices, finished parts."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.studies import catalog, daily_files, pool, report, rows
from models.studies.base import Picture, Report, Table
from models.studies.resume import Parts, key_of
from streams.errors import SettingsError, SourceError

PNG = b"\x89PNG"


def a_report() -> Report:
    came = np.arange(100.0)
    naively = came + np.resize([1.0, -1.1, 0.9], 100)
    ours = np.stack([came + np.resize([0.1, -0.1], 100), came + np.resize([0.2, -0.2], 100)])
    table = Table(
        "prices <of>",
        rows.OF_PRICES,
        (
            rows.published("LSTM", 16.02, 26.88, 0.97, 0.99),
            rows.measured("LSTM", ours, came, naively),
            rows.naive("persistence", naively, came),
        ),
    )
    return Report("toy", "A toy", "about", (table,), ("LSTM: edge",), (Picture("a line", PNG),), facts={"nan": float("nan")})


def test_a_report_shows_published_ours_and_naive_with_the_spread_of_the_seeds() -> None:
    page = report.page([a_report()])
    assert page.index("class='published'") < page.index("class='ours'") < page.index("class='naive'")
    assert "<td>0.15 ± 0.07</td>" in page
    assert "prices &lt;of&gt;" in page
    assert page.count("data:image/png") == 1


def test_figures_are_json_and_keep_every_seed() -> None:
    figures = json.loads(json.dumps(report.figures(a_report()), allow_nan=False))
    ours = figures["tables"][0]["rows"][1]
    assert ours["values"]["MAE"] == pytest.approx([0.1, 0.2])
    assert ours["verdict"] == "edge"
    assert figures["facts"] == {"nan": None}


def test_a_forecast_like_the_naive_one_has_no_edge() -> None:
    came = np.random.default_rng(1).normal(size=200).cumsum()
    naively = np.concatenate([[0.0], came[:-1]])
    row = rows.measured("same", naively[None] + 0.0, came, naively)
    assert (row.verdict, row.values["DM p"]) == ("no demonstrated edge", (1.0,))


def test_daily_files_find_columns_by_name_and_nan_is_null(tmp_path: Path) -> None:
    (tmp_path / "us-daily").mkdir()
    file = tmp_path / "us-daily" / "X.csv"
    file.write_text(",close,high,low,open,vol,vwap\n2014-05-26,,,,,,\n2014-05-23,3,4,1,2,100.0,9\n2014-05-27,nan,4,1,2,7,\n")
    found = daily_files.us(tmp_path, "X")
    assert found.columns == ["date", "symbol", "open", "high", "low", "close", "volume"]
    assert found.row(0)[2:] == (2.0, 4.0, 1.0, 3.0, 100.0)
    assert found["close"].to_list() == [3.0, None, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as CSV"),
        ("date,open,high,low,close,volume\n", "has no rows"),
        ("date,open,high,low,volume\n2020-01-02,1,1,1,1\n", "no column 'close'"),
        ("date,open,high,low,close,volume\n2020-01-02,1,1,1,one,1\n", "text where"),
        ("date,open,high,low,close,volume\nyesterday,1,1,1,1,1\n", "text where"),
        ("date,open,high,low,close,volume\n2020-01-02,1,1,1,1,1\n2020-01-02,1,1,1,1,1\n", "more than once"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=said):
        daily_files.read(path, "X")


def test_a_symbol_without_a_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"NOPE.*tickcast study fetch"):
        daily_files.us(tmp_path, "NOPE")


def test_real_files_have_what_their_description_says(shared_data: Path) -> None:
    sse = daily_files.sse(shared_data).filter(pl.col("date").dt.year().is_between(2010, 2024))
    assert (len(sse), sse["close"].null_count()) == (3_643, 0)
    googl = daily_files.us(shared_data, "GOOGL")
    assert googl.filter(pl.col("close").is_null())["date"].cast(pl.String).to_list() == ["2014-05-26"]
    high = googl.filter(pl.col("high") < pl.max_horizontal("open", "close", "low"))
    assert high.is_empty()


def test_a_finished_part_is_not_made_again_and_a_torn_one_is(tmp_path: Path) -> None:
    parts = Parts(tmp_path / key_of("study", "data"))
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"loss": np.arange(3.0)}

    assert parts.finished("one", make)["loss"].tolist() == [0.0, 1.0, 2.0]
    assert parts.finished("one", make)["loss"].tolist() == [0.0, 1.0, 2.0]
    assert len(made) == 1
    whole = parts.path("one").read_bytes()
    parts.path("one").write_bytes(whole[: len(whole) // 2])
    parts.finished("one", make)
    assert len(made) == 2
    assert [path.name for path in parts.folder.iterdir()] == ["one.npz"]


def test_keys_tell_apart_what_was_joined() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(SettingsError, match="no study 'nope'"):
        catalog.named("nope")


def _computes(_number: int) -> None:
    """Set threads as a walk of a recurrent recipe does, then compute: after that TensorFlow takes no other number."""
    pool.one_thread()
    recurrent = import_module("models.forecaster.recurrent")
    recurrent.prepare()
    assert int(recurrent.tf.constant(1) + 1) == 2


def test_a_worker_trains_one_network_after_another() -> None:
    done: list[int] = []
    pool.each(_computes, (1, 2, 3), done.append, workers=1)
    assert done == [0, 1, 2, 3]
