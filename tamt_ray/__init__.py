"""Task-agnostic mask training of pre-trained language models, as a Ray sweep."""

__version__ = "0.1.0"
