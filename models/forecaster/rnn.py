"""The vanilla recurrent network, for comparison with the LSTM."""

from __future__ import annotations

from models.forecaster.recurrent_recipe import Recurrent

RNN = Recurrent("rnn", "vanilla RNN of 128 units", "RNN")
