"""MLflow: which runs there should be, and one writer that nothing waits for."""
