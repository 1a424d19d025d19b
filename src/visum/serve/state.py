"""What the routes of one server share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from visum.serve.feedback import Feedback
from visum.serve.guard import Doors
from visum.serve.limits import Budget, Gate, Limits
from visum.serve.log import Log
from visum.serve.metrics import Metrics
from visum.serve.models import Models, Workers
from visum.ship.gallery import Gallery


@dataclass(eq=False)
class State:
    """All that routes share.

    Attributes:
        models, workers: what answers.
        doors: who is let in.
        limits: what a client may cost; ``gate``: pictures inside; ``bulk``: forms and explanations, which ask for many.
        feedback: None where none is taken.
        engine: name of the engine that models run on.
        gallery: training pictures that may stand beside answers; None where none may.
        draining: the end is near, nothing new is begun.
    """

    models: Models
    workers: Workers
    doors: Doors
    limits: Limits
    gate: Gate
    budget: Budget
    metrics: Metrics = field(default_factory=Metrics)
    log: Log = field(default_factory=Log)
    feedback: Feedback | None = None
    engine: str = "auto"
    gallery: Gallery | None = None
    draining: bool = False
    bulk: Gate = field(default_factory=lambda: Gate(4))
    swapping: asyncio.Lock = field(default_factory=asyncio.Lock)
    connections: Callable[[], int] = lambda: 0
    started: float = field(default_factory=time.time)

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return bool(self.models.served) and not self.draining
