"""Offline datasets: made from packages alone, imported, or downloaded; then flattened once and shared."""
