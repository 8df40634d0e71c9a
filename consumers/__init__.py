"""Roles that read topics: sentiment, forecaster, scorer, console."""
