"""How long jobs of each type have taken lately, and how many may therefore wait in a child. Parent process."""

from __future__ import annotations

SHORT = 0.05  # seconds: jobs of a type that takes longer are handed out one at a time
AHEAD = 0.2  # seconds of predicted work that a child may have waiting
FASTEST = 0.0002  # seconds: below this the figure is noise
PROOFS = 3  # attempts of jobs that may be run again before their type counts as short
WEIGHT = 0.2  # of the newest duration in the moving average
MOST = 500  # attempts that a child may have waiting


class Pace:
    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._count: dict[str, int] = {}
        self._recent = SHORT

    def note(self, name: str, seconds: float, *, again: bool = True) -> None:
        """An attempt of a job of this type has taken *seconds*. Only one that may be run *again* is a proof."""
        # A slow one counts in full: one surprise is reason enough to be careful.
        before = self._seconds.get(name, seconds)
        self._seconds[name] = seconds if seconds > SHORT else before + WEIGHT * (seconds - before)
        self._count[name] = self._count.get(name, 0) + again
        self._recent += WEIGHT * (min(seconds, 1.0) - self._recent)

    def seconds(self, name: str) -> float:
        """How long a job of this type is expected to take."""
        return max(FASTEST, self._seconds.get(name, SHORT))

    def is_short(self, name: str) -> bool:
        return self._count.get(name, 0) >= PROOFS and self._seconds[name] < SHORT

    def short(self) -> list[str]:
        return [name for name in self._seconds if self.is_short(name)]

    def ahead(self) -> int:
        """How many jobs like the recent ones fill the time that a child may have waiting."""
        return max(1, min(MOST, int(AHEAD / max(FASTEST, self._recent))))
