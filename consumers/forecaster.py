"""Feature rows to forecasts: the random walk from the first bar on, the LSTM wherever a window is full and one is loaded.

Neither Kafka (see `worker.py`) nor TensorFlow (see `models/forecaster/onnx_model.py`) is touched by the handler.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from consumers.base import LARGEST_BATCH
from consumers.history import Arrival, SymbolHistory
from models.follower import ModelFollower
from models.forecaster import onnx_model
from models.forecaster.base import Forecaster, Maker, to_messages
from models.forecaster.random_walk import RandomWalk
from models.forecaster.windows import Windows
from streams import bus, codec
from streams.bus import INGEST_HEADER, Outgoing, Record
from streams.errors import BadMessage
from streams.messages import Features
from streams.settings import Settings

ROLE = "forecast"
MODEL = "forecaster"
FEATURED_HEADER = "featured_ts_us"  # when the engine's row reached the broker, wall clock, decimal text


class ForecastHandler:
    """Makes one forecast per final row, horizon and model, and provisional ones from rows that are not final.

    Final rows are forecast in minute order per symbol and one by one, so that a replay repeats their bytes; a late
    revision is not forecast again. Provisional forecasts are made only for each symbol's newest row of those that came
    together, for all symbols at once: when the handler is behind, what is outdated costs nothing.

    Parameters
    ----------
    champion : Callable[[], Forecaster | None]
        Asked once per batch for the model to use; None while there is none.
    """

    name = ROLE
    inputs: tuple[str, ...] = ("features",)
    memory: tuple[str, ...] = ("features",)
    max_batch = LARGEST_BATCH

    def __init__(self, champion: Callable[[], Forecaster | None]) -> None:
        self._champion = champion
        self._baseline = RandomWalk()
        self._histories: defaultdict[str, SymbolHistory] = defaultdict(SymbolHistory)

    def restore(self, record: Record) -> None:
        """Take one past record of `features`; the rows that it makes ready were forecast before."""
        try:
            row = codec.decode(Features, record.value)
        except BadMessage:
            return  # it was reported when it was new
        if row.final:
            self._histories[row.symbol].put(row, record)

    def describe(self) -> str:
        """Return the id of the champion that serves."""
        champion = self._champion()
        return "" if champion is None else champion.model_id

    def forget(self) -> None:
        """Drop all histories."""
        self._histories.clear()

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        """Return the forecasts of `records`, final ones first, and dead letters for the unreadable."""
        champion = self._champion()
        sent: list[Outgoing] = []
        drafts: dict[str, Arrival] = {}
        for record in records:
            try:
                row = codec.decode(Features, record.value)
            except BadMessage as error:
                sent.append(bus.dead_letter(record, self.name, error))
                continue
            history = self._histories[row.symbol]
            if row.final:
                for arrival in history.put(row, record):
                    sent += self._forecasts([arrival], champion, provisional=False)
            elif history.draft(row):
                drafts[row.symbol] = Arrival(row, record)
        return sent + self._provisional(drafts.values(), champion)

    def _provisional(self, drafts: Iterable[Arrival], champion: Forecaster | None) -> list[Outgoing]:
        by_bars: defaultdict[int, list[Arrival]] = defaultdict(list)
        for draft in drafts:
            if self._histories[draft.row.symbol].is_ahead(draft.row):
                by_bars[len(self._window(draft, provisional=True))].append(draft)
        groups = (self._forecasts(group, champion, provisional=True) for group in by_bars.values())
        return [record for group in groups for record in group]

    def _window(self, arrival: Arrival, *, provisional: bool) -> list[tuple[float, ...]]:
        return self._histories[arrival.row.symbol].window(arrival.row.minute_ts_us, drafts=provisional)

    def _forecasts(self, arrivals: Sequence[Arrival], champion: Forecaster | None, *, provisional: bool) -> Iterator[Outgoing]:
        """Yield the forecasts of `arrivals`, whose windows have the same number of bars."""
        windows = Windows.stack([self._window(arrival, provisional=provisional) for arrival in arrivals])
        hashes = windows.hashes()
        headers = [_headers(arrival.record) for arrival in arrivals]
        for maker in self._makers(windows.bars, champion, provisional=provisional):
            predictions = maker.forecaster.forecast(windows)
            for place, arrival in enumerate(arrivals):
                for message in to_messages(arrival.row, predictions, place, maker, hashes[place]):
                    yield bus.outgoing("forecasts", message.symbol, message, headers[place])

    def _makers(self, bars: int, champion: Forecaster | None, *, provisional: bool) -> list[Maker]:
        makers = [Maker(self._baseline, "baseline", provisional)]
        if champion is not None and bars >= champion.minimum_bars:
            makers.append(Maker(champion, "champion", provisional))
        return makers


def _headers(record: Record) -> list[tuple[str, bytes]]:
    kept = [(name, value) for name, value in record.headers if name == INGEST_HEADER]
    return [*kept, (FEATURED_HEADER, str(record.timestamp_ms * 1_000).encode())]


def make_follower() -> ModelFollower[Forecaster]:
    """Return a follower of the forecaster's announcements, not started."""
    return ModelFollower(MODEL, onnx_model.load)


def make_handler(settings: Settings, follower: ModelFollower[Forecaster] | None = None) -> ForecastHandler:
    """Return the handler that serves the newest promoted model, those already announced included.

    Parameters
    ----------
    follower : ModelFollower[Forecaster] | None
        One that the caller stops, not started yet; by default one that follows until the process ends.

    Raises
    ------
    EnvironmentFault
        No broker answers.
    """
    bus.ensure_topics(settings)
    follower = follower or make_follower()
    follower.start(settings)
    return ForecastHandler(follower.current)
