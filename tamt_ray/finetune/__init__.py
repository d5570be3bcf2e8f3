"""Fine-tuning one subnetwork on one task."""
