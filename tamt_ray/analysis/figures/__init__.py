"""The figures of the report and of the paper."""
