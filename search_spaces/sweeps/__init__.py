"""Complete example sweeps as YAML files; each can be named instead of a file."""
