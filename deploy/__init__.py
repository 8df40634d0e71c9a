"""Wires the other packages together: the `tickcast` command. Nothing imports it."""
