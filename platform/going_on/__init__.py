"""A sweep that goes on: resumed, retried, extended, and whether it is still the same."""
