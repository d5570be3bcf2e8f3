"""Decide which unit runs next, and track where each one runs."""
