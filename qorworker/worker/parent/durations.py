"""How long jobs of each type have taken lately, and how many may therefore wait in a child. Parent process."""

from __future__ import annotations

SHORT = 0.05  # seconds; jobs of a slower type are handed out one at a time
AHEAD = 0.2  # seconds of predicted work that a child may have waiting
FASTEST = 0.0002  # seconds: below this the figure is noise
MIN_ATTEMPTS = 3  # attempts of re-runnable jobs before their type counts as short
WEIGHT = 0.2  # of the newest duration in the moving average
MAX_AHEAD = 500  # attempts that a child may have waiting


class Durations:
    """Keeps a moving average of the duration of each type."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._count: dict[str, int] = {}
        self._recent = SHORT

    def note(self, name: str, seconds: float, *, rerunnable: bool = True) -> None:
        """Take in the duration of an attempt. Only *rerunnable* jobs prove that their type is short."""
        # A slow attempt counts in full: one surprise is reason enough to be careful.
        average = self._seconds.get(name, seconds)
        self._seconds[name] = seconds if seconds > SHORT else average + WEIGHT * (seconds - average)
        self._count[name] = self._count.get(name, 0) + rerunnable
        self._recent += WEIGHT * (min(seconds, 1.0) - self._recent)

    def seconds(self, name: str) -> float:
        """Return the seconds that a job of this type is expected to take."""
        return max(FASTEST, self._seconds.get(name, SHORT))

    def is_short(self, name: str) -> bool:
        """Whether jobs of this type have proved short enough to wait in a child."""
        return self._count.get(name, 0) >= MIN_ATTEMPTS and self._seconds[name] < SHORT

    def together(self, name: str, limit: int) -> int:
        """Return how many jobs of a type a child may have of which it runs *limit* together: these, and some behind."""
        return limit + (min(2 * MAX_AHEAD, int(AHEAD * limit / self.seconds(name))) if self.is_short(name) else 0)

    def short(self) -> list[str]:
        """Return the names of the short types."""
        return [name for name in self._seconds if self.is_short(name)]

    def ahead(self) -> int:
        """Return how many jobs like the recent ones fill the time that a child may have waiting."""
        return max(1, min(MAX_AHEAD, int(AHEAD / max(FASTEST, self._recent))))
