"""Measures of forecasts, beside naive ones."""
