"""The systems a sweep can tune, and all they need: data, networks, environments, learners."""
