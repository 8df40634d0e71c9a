"""Headline to P(positive), P(negative), P(neutral)."""
