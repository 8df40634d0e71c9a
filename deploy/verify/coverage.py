"""`tickcast verify coverage`: how often intervals hold the price that came, before calibration and after, in walk-forward.

Minute rows, computed independently (`truth.py`), go through the forecaster's own handler in the order of event time: each
interval is published before its price is known, and calibration learns only from what has matured. Measured on the simulated
market, whose volatility triples for good half-way, and on folders of files as `tickcast ingest` reads them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

from consumers.forecaster import ForecastHandler
from deploy.verify import truth
from models.evaluation.scoring import INTERVALS, covered
from models.forecaster.base import Forecaster
from producers import table
from producers.base import Trade
from producers.market import Market, minutes
from producers.replay import SESSION_GAP_US
from streams import codec
from streams.bus import Record
from streams.clock import MINUTE_US, SECOND_US
from streams.messages import Features, Forecast

LEAST_MATURED = 20_000
MARGINS = {"80": 0.02, "95": 0.01}  # what coverage may differ by
SYMBOLS = ("AAPL", "MSFT", "TSLA")
SIMULATED_MIN = 12_000
TRADES_PER_MIN = 4.0  # for each symbol
TURN = 3.0  # what the simulated volatility is multiplied by half-way
AFTER_MIN = 240  # the time after the turn that is looked at by itself
START_US = 1_735_689_600_000_000  # 2025-01-01 UTC; any minute would do
BAR_PRICES_US = {"open": 0, "high": 20 * SECOND_US, "low": 40 * SECOND_US, "close": 60 * SECOND_US - 1}
EVERYTHING = "all"


@dataclass
class Tally:
    """How many forecasts matured, and how many of them each interval held: by role and horizon, or `all`."""

    matured: Counter[tuple[str, str]] = field(default_factory=Counter)
    held: defaultdict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    raw: defaultdict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, forecast: Forecast, realised: float) -> None:
        """Count one matured forecast."""
        for key in ((forecast.role, EVERYTHING), (forecast.role, str(forecast.horizon_min))):
            self.matured[key] += 1
            self.held[key].update(name for name, held in covered(forecast.quantiles, realised).items() if held)
            self.raw[key].update(name for name, held in covered(forecast.raw_quantiles, realised).items() if held)

    def figures(self) -> list[dict[str, Any]]:
        """Return a row for each role and horizon: what matured, and the share that each interval held, raw beside it."""
        return [
            {"role": role, "horizon_min": horizon, "matured": n}
            | {f"covered_{name}": self.held[role, horizon][name] / n for name in INTERVALS}
            | {f"raw_{name}": self.raw[role, horizon][name] / n for name in INTERVALS}
            for (role, horizon), n in sorted(self.matured.items(), key=lambda item: (item[0][0], item[0][1].zfill(3)))
        ]


def simulated(seed: int, n_minutes: int = SIMULATED_MIN) -> tuple[list[Features], int]:
    """Return the minute rows of the simulated market, and when its volatility triples."""
    market = Market(symbols=SYMBOLS, seed=seed, rate=TRADES_PER_MIN * len(SYMBOLS) / 60)
    turn_us = START_US + n_minutes // 2 * MINUTE_US
    events = (event for minute in islice(minutes(market), n_minutes) for event in minute.events(START_US.__add__))
    turned = _turned((event for event in events if isinstance(event, Trade)), turn_us)
    trades = pl.DataFrame(turned, schema=["event_ts_us", "symbol", "price", "size"], orient="row")
    return rows(trades), turn_us


def _turned(trades: Iterator[Trade], turn_us: int) -> Iterator[tuple[int, str, float, float]]:
    """Multiply the log returns after `turn_us` by `TURN`."""
    last: dict[str, float] = {}
    for trade in trades:
        if trade.event_ts_us < turn_us:
            last[trade.symbol] = trade.price
        anchor = last.get(trade.symbol, trade.price)
        yield trade.event_ts_us, trade.symbol, anchor * math.pow(trade.price / anchor, TURN), float(trade.size)


def of_folder(folder: Path) -> list[Features]:
    """Return the minute rows of all files in `folder`, of ticks or of minute bars.

    Raises
    ------
    SourceError
        A file cannot be read as a table of ticks or bars.
    """
    tables = [table.load(path, table.Wanted()) for path in sorted(folder.iterdir()) if path.name.endswith((".csv", ".csv.gz"))]
    return rows(pl.concat([_trades(one) for one in tables]))


def _trades(one: table.Table) -> pl.DataFrame:
    """Return the trades of a file, or four a bar, so that the bar computed from them is the file's."""
    if one.kind == "ticks":
        return one.rows.select(pl.col("ts_us").alias("event_ts_us"), "symbol", "price", "size")
    parts = [
        one.rows.select(
            (pl.col("ts_us") + offset_us).alias("event_ts_us"),
            "symbol",
            pl.col(name).alias("price"),
            (pl.col("volume") if name == "close" else pl.lit(0.0)).alias("size"),
        )
        for name, offset_us in BAR_PRICES_US.items()
    ]
    return pl.concat(parts)


def rows(trades: pl.DataFrame) -> list[Features]:
    """Return the final rows of `trades`, no headline known, in the order of minutes."""
    ordered = trades.sort("event_ts_us", maintain_order=True).with_row_index("seq")
    gaps = ordered["event_ts_us"].diff().fill_null(0) > SESSION_GAP_US
    spans = ordered.with_columns(session=gaps.cum_sum()).group_by("symbol", "session", maintain_order=True)
    sessions = spans.agg(start_us=pl.col("event_ts_us").min(), end_us=pl.col("event_ts_us").max()).drop("session")
    silence = pl.DataFrame(schema={"symbol": pl.String, "event_ts_us": pl.Int64, "score": pl.Float64})
    found = truth.minutes(ordered, silence, sessions).sort("minute_ts_us", "symbol").iter_rows(named=True)
    return [Features(**row, last_event_ts_us=row["minute_ts_us"], revision=1, final=True) for row in found]


def walk(market: Sequence[Features], champion: Forecaster | None) -> Iterator[tuple[Forecast, float]]:
    """Yield every forecast that matures, with the price that came."""
    closes = {(row.symbol, row.minute_ts_us): row.close for row in market}
    handler = ForecastHandler(lambda _at: champion)
    for _, minute in groupby(enumerate(market), key=lambda item: item[1].minute_ts_us):
        said = [Record("features", 0, at, row.symbol.encode(), codec.encode(row), 0) for at, row in minute]
        for sent in handler.handle(said):
            if sent.topic == "forecasts":
                forecast = codec.decode(Forecast, sent.value)
                realised = closes.get((forecast.symbol, forecast.target_ts_us - MINUTE_US))
                if realised is not None:
                    yield forecast, realised


def run(folders: Sequence[Path], seed: int, champion: Forecaster | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the coverage on the simulated market, after its turn, and on each folder; `holds` says whether it is as promised."""
    tell("simulated market")
    market, turn_us = simulated(seed)
    whole, after = Tally(), Tally()
    for forecast, realised in walk(market, champion):
        whole.add(forecast, realised)
        if turn_us <= forecast.as_of_ts_us < turn_us + AFTER_MIN * MINUTE_US:
            after.add(forecast, realised)
    tallies = {"simulated": whole}
    for folder in folders:
        tell(folder.name)
        tallies[folder.name] = Tally()
        for forecast, realised in walk(of_folder(folder), champion):
            tallies[folder.name].add(forecast, realised)
    found = {name: tally.figures() for name, tally in tallies.items()}
    return {"holds": all(map(holds, found.values())), "margins": MARGINS, "markets": found, "after_the_turn": after.figures()}


def holds(figures: Sequence[dict[str, Any]]) -> bool:
    """Return whether the intervals of every role held, over all horizons, what they promise, on enough forecasts."""
    overall = [row for row in figures if row["horizon_min"] == EVERYTHING]
    near = [abs(row[f"covered_{name}"] - int(name) / 100) <= margin for row in overall for name, margin in MARGINS.items()]
    return bool(near) and all(near) and all(row["matured"] >= LEAST_MATURED for row in overall)


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people, in per cent, raw ones in brackets."""
    shown = Table("market", "role", "horizon", "matured", *(f"{name} % (raw)" for name in INTERVALS))
    markets = figures["markets"] | {f"{AFTER_MIN} min after turn": figures["after_the_turn"]}
    for market, row in ((market, row) for market, found in markets.items() for row in found):
        shares = [f"{100 * row[f'covered_{name}']:.1f} ({100 * row[f'raw_{name}']:.1f})" for name in INTERVALS]
        shown.add_row(market, row["role"], row["horizon_min"], f"{row['matured']:,}", *shares)
    return shown
