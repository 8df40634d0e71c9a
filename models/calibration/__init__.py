"""Intervals that keep what they promise, whatever model they come from."""
