"""`tickcast watch`: the page's market for people without a browser, as one live table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumers.console.feed import Feed, read
from consumers.console.health import HealthRow, Percentiles
from consumers.console.market import Skill, SymbolRow
from consumers.console.views import Page
from streams import bus
from streams.clock import iso
from streams.errors import SettingsError
from streams.messages import Forecast, Role
from streams.settings import Settings

REFRESH_S = 0.5
ENOUGH = 100  # scores below which a skill figure says nothing, as on the page
ROLES: tuple[Role, ...] = ("champion", "challenger", "baseline")
GOOD, BAD, QUIET = "blue", "dark_orange", "bright_black"


def watch(config: Settings, wanted: Set[str], horizon: int, *, once: bool) -> None:
    """Show the market of `wanted` (all symbols where it is empty) until interrupted, or once where nobody could see it change."""
    console = Console()
    with reading(config) as feed:
        with console.status("reading the topics"):
            _wait(lambda: feed.caught_up)

        def table() -> Table:
            return market_table(feed.snapshot(), wanted, horizon)

        if once or not console.is_terminal:
            _known(feed.snapshot(), wanted)
            console.print(table())
            return
        with Live(table(), console=console, refresh_per_second=1 / REFRESH_S) as live:
            while True:
                time.sleep(REFRESH_S)
                live.update(table())


@contextmanager
def reading(config: Settings) -> Iterator[Feed]:
    """Lend the views of the page, filled by a thread, for the length of a `with` block."""
    bus.ensure_topics(config)
    feed = Feed()
    thread = threading.Thread(target=read, args=(config, feed), daemon=True, name="watch")
    thread.start()
    try:
        yield feed
    finally:
        feed.stop()
        thread.join(5)


def _wait(probe: Callable[[], bool]) -> None:
    while not probe():
        time.sleep(0.05)


def _known(page: Page, wanted: Set[str]) -> None:
    present = {row.symbol for row in page.symbols}
    if missing := sorted(wanted - present):
        raise SettingsError(
            f"nothing is known of {', '.join(missing)}; there are {', '.join(sorted(present)) or 'no symbols yet'}"
        )


def market_table(page: Page, wanted: Set[str], horizon: int) -> Table:
    """Return the table of one moment: a row a symbol; all of them where `wanted` is empty."""
    table = Table(title=_title(page), caption=_caption(page.health), title_justify="left", caption_justify="left", expand=False)
    table.add_column("symbol")
    for name in ("price", "30 min", f"in {horizon} min", "80 % between"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in page.symbols:
        if not wanted or row.symbol in wanted:
            table.add_row(*_cells(row, horizon))
    return table


def _cells(row: SymbolRow, horizon: int) -> tuple[Text, ...]:
    forecast = leading(row.forecasts, horizon)
    words, edge = verdict(row.skills, forecast, horizon)
    move = None if forecast is None else forecast.mean / forecast.last_price - 1
    return (
        Text(row.symbol),
        Text(_price(row.price)),
        Text(_percent(row.change, 2), _colour(row.change)),
        Text(_percent(move, 3), _colour(move) if edge else QUIET),
        Text(_interval(forecast), QUIET),
        Text(words, "" if edge else QUIET),
    )


def leading(forecasts: Sequence[Forecast], horizon: int) -> Forecast | None:
    """Return the newest forecast of the highest role there is at `horizon`; a final one before a provisional one of its time."""
    for role in ROLES:
        if own := [one for one in forecasts if one.role == role and one.horizon_min == horizon]:
            return max(own, key=lambda one: (one.as_of_ts_us, not one.provisional))
    return None


def verdict(skills: Sequence[Skill], forecast: Forecast | None, horizon: int) -> tuple[str, bool]:
    """Return what the scores say of the model of `forecast` in words, and whether that is an edge."""
    if forecast is None:
        return "no forecast yet", False
    model = forecast.model_id
    own = next((skill for skill in skills if skill.model_id == model and skill.horizon_min == horizon), None)
    if own is None:
        return "no score yet", False
    if own.verdict == "" or own.rolling_n < ENOUGH:
        return f"too few scores ({own.rolling_n})", False
    p = "" if own.dm_p_value is None else f", p = {own.dm_p_value:.3f}"
    return f"{own.verdict} ({_percent(own.rolling_skill, 1)}{p}, {own.rolling_n:,} scores)", own.verdict == "edge"


def _title(page: Page) -> Text:
    clock = iso(page.clock_ts_us)[:19].replace("T", " ") + " UTC" if page.clock_ts_us else "no trade yet"
    return Text(f"{page.mode or 'NO SOURCE'} · {clock}", "bold")


def _caption(health: HealthRow | None) -> Text:
    if health is None:
        return Text("")
    parts = [
        f"{health.ticks_per_s:.1f} ticks/s",
        f"tick to forecast {_latency(health.tick_to_forecast)}",
        f"{health.dead_letters:,} dead letters",
    ]
    ill = [row.role for row in health.roles if row.silent or row.state == "failed"]
    text = Text(" · ".join(parts))
    return text.append(f" · silent or failed: {', '.join(ill)}: `tickcast doctor` says why", BAD) if ill else text


def _latency(found: Percentiles | None) -> str:
    return "-" if found is None else f"p50 {found.p50_ms:,.0f}, p99 {found.p99_ms:,.0f} ms"


def _price(price: float | None) -> str:
    return "-" if price is None else f"{price:,.2f}" if price >= 10 else f"{price:,.4f}"


def _interval(forecast: Forecast | None) -> str:
    low, high = (None, None) if forecast is None else (forecast.quantiles.get("0.1"), forecast.quantiles.get("0.9"))
    return "-" if low is None or high is None else f"{_price(low)} … {_price(high)}"


def _percent(fraction: float | None, digits: int) -> str:
    return "-" if fraction is None else f"{fraction:+.{digits}%}"


def _colour(fraction: float | None) -> str:
    return "" if not fraction else GOOD if fraction > 0 else BAD
