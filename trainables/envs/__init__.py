"""Scoring policies in simulation: many episodes in lockstep, every one of them seeded."""
