"""The fine-tune fleet: one Ray Tune run."""
