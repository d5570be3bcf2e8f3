"""The results on disk or in an object store; a unit's record is written last."""
