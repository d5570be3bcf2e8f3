"""Verbs and what they print; no logic of their own."""
