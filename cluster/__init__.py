"""Everything about many machines: sending a sweep to a Ray cluster, following and stopping it there."""
