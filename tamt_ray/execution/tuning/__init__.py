"""Tuning studies under Ray Tune and Optuna."""
