"""Statistics: pure functions of tables."""
