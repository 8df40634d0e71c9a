"""Published forecasting studies, rebuilt on this system: thin recipes over the shared training, evaluation and plots."""
