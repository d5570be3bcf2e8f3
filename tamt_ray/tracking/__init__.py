"""The way into MLflow: a spool on disk and one writer that nothing waits for."""
