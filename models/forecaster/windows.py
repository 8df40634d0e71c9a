"""Minute bars of one symbol to the scale-free numbers that a model sees: one function for training and serving.

Nothing here depends on the level of the price, of the volatility or of the volume, so that a model trained on one market can
be asked about another. Nothing looks outside the window, and all of it is known when its last minute is.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.messages import Features

Array = NDArray[np.float64]

WINDOW = 50  # minutes that a full window holds
FEATURE_VERSION = 1  # raise it with every change of FEATURES or of what one of them means: older models are then refused
RAW = ("open", "high", "low", "close", "volume", "ma7", "ma21", "sent_mean", "sent_n", "flat")
FEATURES = ("ret", "body", "range", "ma7", "ma21", "volume", "sentiment", "news", "sentiment_n", "flat", "turbulence")

DECAY = 0.94  # RiskMetrics' lambda
SIGMA_FLOOR = 1e-5  # a tenth of a basis point a minute: a halted symbol must not divide by zero
PRIOR_SIGMA = 5e-4  # 5 basis points a minute is about 16 % a year of US sessions
PRIOR_BARS = 4.0  # how many returns the prior is worth before the first one; it fades to none in a full window
_PACKED = struct.Struct(f"{len(RAW)}d")
CLIP = 10.0  # in units of `Windows.scale`; beyond that a row says "a jump" and no more


def raw_row(row: Features) -> tuple[float, ...]:
    """Return the fields of `row` named in :data:`RAW`; no sentiment counts as neutral."""
    sentiment = 0.0 if row.sent_mean is None else row.sent_mean
    bar = (row.open, row.high, row.low, row.close, row.volume)
    return (*bar, row.ma7, row.ma21, sentiment, float(row.sent_n), float(row.flat))


def pack(row: Features) -> bytes:
    """Return :func:`raw_row` as bytes, of which :meth:`Windows.unpack` makes windows at a tenth of what tuples cost."""
    return _PACKED.pack(*raw_row(row))


def ewma_sigma(returns: Array) -> Array:
    """Return the volatility of one minute, [N], from log returns [N, n], oldest first, n >= 0.

    The exponentially weighted mean of squared returns, with a prior of :data:`PRIOR_SIGMA` that weighs as much as
    :data:`PRIOR_BARS` returns before the first one and nothing in a full window.
    """
    n = returns.shape[1]
    weights = DECAY ** np.arange(n - 1, -1, -1, dtype=np.float64)
    prior = PRIOR_BARS * max(0.0, 1.0 - n / (WINDOW - 1))
    variance = ((returns * returns * weights).sum(axis=1) + prior * PRIOR_SIGMA**2) / (weights.sum() + prior)
    sigma: Array = np.maximum(np.sqrt(variance), SIGMA_FLOOR)
    return sigma


@dataclass(frozen=True)
class Windows:
    """N windows of T consecutive minutes, 1 <= T <= 50, that a forecaster answers in one call.

    Parameters
    ----------
    rows : Array
        [N, T, len(RAW)], oldest minute first.
    """

    rows: Array

    @classmethod
    def stack(cls, windows: Sequence[Sequence[tuple[float, ...]]]) -> Windows:
        """Return windows of equal length, each a sequence of :func:`raw_row`, as one batch."""
        return cls(np.array(windows, dtype=np.float64))

    @classmethod
    def unpack(cls, windows: Sequence[Sequence[bytes]]) -> Windows:
        """Return windows of equal length, each a sequence of :func:`pack`, as one batch."""
        numbers = np.frombuffer(b"".join(b"".join(window) for window in windows))
        return cls(numbers.reshape(len(windows), -1, len(RAW)))

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def bars(self) -> int:
        """T, the minutes of each window."""
        return int(self.rows.shape[1])

    def take(self, index: Any) -> Windows:
        """Return the windows that the numpy index `index` selects."""
        return Windows(self.rows[index])

    def raw(self, name: str) -> Array:
        """Return one field of all rows, [N, T]."""
        column: Array = self.rows[:, :, RAW.index(name)]
        return column

    @cached_property
    def returns(self) -> Array:
        """Log returns within the window, [N, T - 1]."""
        return np.diff(np.log(self.raw("close")), axis=1)

    @cached_property
    def sigma(self) -> Array:
        """Volatility of one minute at the window's end, [N], log-return units."""
        return ewma_sigma(self.returns)

    @cached_property
    def scale(self) -> Array:
        """The unit of what a network sees and says, [N], log-return units: the volatility that the mean |return| implies.

        Unlike `sigma` it is hardly moved by a single jump, which would shrink all that the network sees for half an hour.
        """
        if self.bars == 1:
            return self.sigma
        implied: Array = np.maximum(np.sqrt(np.pi / 2) * np.abs(self.returns).mean(axis=1), SIGMA_FLOOR)
        return implied

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """What a model sees, [N, T, len(FEATURES)], in the order of :data:`FEATURES`."""
        seen = np.empty((len(self), self.bars, len(FEATURES)), dtype=np.float32)
        for at, column in enumerate(self._columns()):  # one by one: fresh memory costs more than the arithmetic
            seen[:, :, at] = column
        return seen

    def _columns(self) -> Iterator[Array]:
        """Yield the features, each [N, T]."""
        yield from (np.clip(ratio / self.scale[:, None], -CLIP, CLIP) for ratio in self._prices())
        yield self._volume()
        yield from self._sentiment()
        yield self.raw("flat")
        yield np.broadcast_to(np.log(self.sigma / self.scale)[:, None], self.rows.shape[:2])

    def _prices(self) -> Iterator[Array]:
        close = self.raw("close")
        yield np.pad(self.returns, ((0, 0), (1, 0)))  # the first one is unknown
        yield np.log(close / self.raw("open"))
        yield np.log(self.raw("high") / self.raw("low"))
        yield np.log(close / self.raw("ma7"))
        yield np.log(close / self.raw("ma21"))

    def _volume(self) -> Array:
        volume = self.raw("volume")
        mean = volume.mean(axis=1, keepdims=True)
        share: Array = np.log1p(volume / np.where(mean > 0, mean, 1.0))
        return share

    def _sentiment(self) -> tuple[Array, ...]:
        mean, count = self.raw("sent_mean"), self.raw("sent_n")
        total = mean * count
        news = np.diff(total, axis=1, prepend=total[:, :1])  # a headline came, or left the last 60 minutes
        return mean, np.clip(news, -CLIP, CLIP), np.log1p(count)

    def hashes(self) -> list[str]:
        """Return a short checksum of what a model sees of each window."""
        return [hashlib.sha256(window.tobytes()).hexdigest()[:16] for window in self.features]
