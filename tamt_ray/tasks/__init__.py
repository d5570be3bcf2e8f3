"""Kinds of downstream task, one file each, and metrics; torch is imported where data are read."""
