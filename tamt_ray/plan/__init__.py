"""From a sweep to content-addressed units; imports neither torch nor Ray."""
