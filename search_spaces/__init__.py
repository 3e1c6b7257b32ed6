"""What is worth searching: typed parameters with ranges and reasons, and complete example sweeps."""
