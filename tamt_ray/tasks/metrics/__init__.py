"""Metrics, one file each: a function with a name and a direction."""
