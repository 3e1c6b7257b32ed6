"""flowsweep: hyperparameter sweeps for flow and diffusion policies."""

__version__ = "0.1.0"
