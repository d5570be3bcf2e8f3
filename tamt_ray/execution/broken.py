"""The end of a run that is not its natural one."""


class BrokenOffError(RuntimeError):
    """A run ended with work left: interrupted, or Ray gave up. What is done is in the store."""

    def __init__(self, code: int, message: str) -> None:
        """`code` is the exit code."""
        super().__init__(message)
        self.code = code
