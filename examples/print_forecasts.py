"""Prints every final forecast with its 80 % interval, each once, and goes on where it stopped."""

from consumers.subscribe import subscribe

for forecast in subscribe("forecasts", group="printer", since="beginning"):
    if not forecast.provisional:
        low, high = forecast.quantiles["0.1"], forecast.quantiles["0.9"]
        print(f"{forecast.symbol} in {forecast.horizon_min} min: {forecast.mean:.2f}, {low:.2f} to {high:.2f}", flush=True)  # noqa: T201
