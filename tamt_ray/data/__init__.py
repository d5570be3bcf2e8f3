"""Sources, tables, token blocks and curves."""
