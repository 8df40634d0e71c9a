"""The LSTM: 50 minutes of features, 128 units; plain, with Monte Carlo dropout, and as a small ensemble."""

from __future__ import annotations

from models.forecaster.recurrent_recipe import Recurrent

LSTM = Recurrent("lstm", "LSTM of 128 units", "LSTM")
MONTE_CARLO = Recurrent("lstm-mc", "the LSTM, its hidden units dropped at random 16 times", "LSTM", samples=16)
ENSEMBLE = Recurrent("lstm-ensemble", "three LSTMs of other seeds, averaged", "LSTM", members=3)
