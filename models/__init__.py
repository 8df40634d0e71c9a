"""Sentiment and forecasting models, their training and evaluation. Import `streams` only."""
