"""Bayesian inverse problems: a prior, an operator, noise, and disjoint lists of truths to tune and to test on."""
