"""Faults on purpose, on a sweep that must not lose anything."""
