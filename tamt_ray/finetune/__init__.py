"""Fine-tuning one subnetwork on one task (PAPER §4)."""
