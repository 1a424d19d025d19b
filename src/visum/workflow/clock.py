"""How long somebody has who works in portions of equal cost."""

from __future__ import annotations

import time
from dataclasses import dataclass

from visum.errors import VisumError


class Skipped(VisumError):
    """A step cannot say anything, for a reason that the page gives."""


@dataclass
class Clock:
    """How long a step has, that works in portions of equal cost.

    Attributes:
        begun: ``time.monotonic()`` of its beginning.
        seconds: that it has.
        portion: images at a time.
        least: images that it takes to say anything.
        done: portions that are finished.
    """

    begun: float
    seconds: float
    portion: int
    least: int
    done: int = 0

    def another(self) -> bool:
        """Told that a portion is finished: whether there is time for one more.

        Raises:
            Skipped: at this speed ``least`` images take more time than there is.
        """
        self.done += 1
        spent = time.monotonic() - self.begun
        fits = int(self.seconds / (spent / self.done))
        if fits * self.portion < self.least and self.done * self.portion < self.least:
            raise Skipped(
                f"there was no time for the {self.least} images without which it says nothing",
                next="a longer --budget",
            )
        return self.done < fits
