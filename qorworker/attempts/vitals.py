"""Keeps a few samples of an attempt that runs for longer. In the process that writes it."""

from __future__ import annotations

import json

from qorworker.models.job_vitals import Sample
from qorworker.system.usage import Usage

FIRST = 1.0  # seconds from the begin of an attempt to its first sample
INTERVAL = 5.0  # seconds between two samples at first
MOST = 60  # samples that are kept
CROWD = 20  # attempts in one process, from which on there is more time between two samples of each


class Vitals:
    """The samples of one attempt. When there are too many, every second one is left out from then on."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.due_at = begun + FIRST
        self.interval = INTERVAL
        self.samples: list[Sample] = []
        self._first_cpu = 0.0
        self._last_output: object = None
        self._output_at = begun

    def take(self, now: float, usage: Usage, queries: tuple[int, float], output: object, together: int = 1) -> bool:
        """Add a sample, and return whether there is now something worth storing: the job runs for longer.

        *queries* are their number so far and the seconds that they took. *output* differs whenever the job has logged
        or reported something since the last sample.
        """
        if not self.samples:
            self._first_cpu = usage.cpu
        if output != self._last_output:
            self._last_output, self._output_at = output, now
        self.samples.append(
            Sample(
                round(now - self.begun, 1),
                usage.memory,
                round(max(0.0, usage.cpu - self._first_cpu), 2),
                *queries,
                round(now - self._output_at, 1),
                together,
            )
        )
        if len(self.samples) > MOST:
            self.samples = self.samples[::2]  # with the first one and the last one
            self.interval *= 2
        crowd = max(1, together // CROWD)
        self.due_at = max(self.due_at + self.interval * crowd - (FIRST if len(self.samples) == 1 else 0), now + FIRST)
        return len(self.samples) > 1

    def text(self, attempt: int) -> str:
        """Return the samples as the row of the job keeps them. *attempt* is the number of the attempt."""
        return json.dumps({"attempt": attempt, "samples": self.samples}, separators=(",", ":"))
