"""What is true: records on disk or in an object store, written last."""
