"""The version of this package, for records, reports and messages; pyproject.toml has it too."""

__version__ = "0.1.0"
