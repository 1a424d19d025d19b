"""What a client is told instead of an answer."""

from __future__ import annotations

from visum.errors import UnreadableImage, VisumError


class Refusal(VisumError):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: what is wrong, one sentence; no path of this machine, nothing of its insides.
        next: what to send instead.
        wait: seconds after which to try again (``Retry-After``), or None.
        close: whether the connection ends with this answer, because what follows on it is not worth reading.
    """

    def __init__(
        self, status: int, message: str, next: str = "", *, wait: int | None = None, close: bool = False
    ) -> None:
        super().__init__(message, next=next)
        self.status, self.wait, self.close = status, wait, close


def busy(what: str = "too many requests wait already") -> Refusal:
    """503, come again in a second."""
    return Refusal(503, f"The server is busy: {what}", "the same request again after a second", wait=1)


def unreadable(error: UnreadableImage) -> Refusal:
    """400 with the decoder's own words; what it says of flags of the command line is not for clients."""
    formats = error.allowed if error.allowed.startswith("JPEG") else "JPEG or PNG"
    next = f"the picture saved as {formats}" if "--" in error.next or "left out" in error.next else error.next
    return Refusal(400, error.reason, next or "the picture saved as JPEG or PNG")
