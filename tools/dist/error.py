"""What went wrong, and what to do about it."""


class DistError(Exception):
    """Ends the build with a message and no trace."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}\n      {remedy}")
