"""The end of a run that is not its natural one."""


class BrokenOffError(RuntimeError):
    """A run ended with work left: interrupted, or Ray gave up. What is done is in the store."""

    def __init__(self, code: int, message: str) -> None:
        """`code` is the exit code."""
        super().__init__(message)
        self.code = code


def gave_up(error: Exception) -> BrokenOffError:
    """The end of a run that Ray cannot go on with; the beginning of its words says enough."""
    words = " ".join(str(error).split()) or type(error).__name__
    return BrokenOffError(
        1, f"Ray gave up: {words[:300]}; what is done is kept, the same command goes on"
    )
