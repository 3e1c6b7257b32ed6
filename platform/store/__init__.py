"""Outputs of stages, each computed once and shared: in a folder or an object store."""
