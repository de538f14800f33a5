"""How far a reader of the attempts and of the audit has come. All processes."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from qorworker.models.clock import DatabaseNow


class Mark(models.Model):
    """The only row of its table. Only one process at a time can move it on.

    Ids are given out before their rows are committed. So a missing id may come later: gaps are kept for a while.
    """

    version = models.PositiveBigIntegerField(default=0)
    at = models.DateTimeField(null=True)  # when it was last moved on
    attempt = models.BigIntegerField(default=0)  # the last id of an attempt that was looked at
    attempt_gaps = models.JSONField(default=list)  # [first, last, when it was seen in seconds since 1970]
    entry = models.BigIntegerField(default=0)  # the same for the entries of the audit
    entry_gaps = models.JSONField(default=list)

    MOVED: ClassVar[tuple[str, ...]] = ("attempt", "attempt_gaps", "entry", "entry_gaps")  # columns that it stores

    class Meta:
        abstract = True
        default_permissions = ()

    def __str__(self) -> str:
        return f"attempt {self.attempt}, audit entry {self.entry}"

    @classmethod
    def current(cls, using: str) -> Self:
        """Return the row, which is made with the first call."""
        return cls._default_manager.using(using).get_or_create(pk=1)[0]

    @classmethod
    def is_recent(cls, using: str, seconds: float) -> bool:
        """Return whether it was moved on within the last *seconds*. A clock that went back leaves a later time."""
        rows = cls._default_manager.using(using)
        return rows.filter(at__gt=DatabaseNow(-seconds), at__lte=DatabaseNow(seconds)).exists()

    def move_on(self, using: str) -> bool:
        """Store what was changed in it. Return False if another process was faster, which has changed the row."""
        changes = {name: getattr(self, name) for name in self.MOVED}
        row = type(self)._default_manager.using(using).filter(pk=self.pk, version=self.version)
        return bool(row.update(version=self.version + 1, at=DatabaseNow(), **changes))
