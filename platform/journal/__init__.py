"""The append-only record of a sweep: its events, the file they lie in, and the state they amount to."""
