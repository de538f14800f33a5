"""Rows of this app are read in the database in which they are written. All processes.

A project's router may read from a replica, which lags behind: a job that was just stored would be missing there, and
decisions would be made on old rows. ``using()`` still reads from any database.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models, router

Row = TypeVar("Row", bound=models.Model)


def write_database(row: models.Model) -> str:
    """Return the alias of the database in which *row* is written, wherever this copy of it was read."""
    return router.db_for_write(type(row), instance=row)


class OwnQuerySet(models.QuerySet[Row]):
    """The base of every QuerySet of this app's models."""

    _db: str | None
    _hints: dict[str, Any]

    @property
    def db(self) -> str:
        """The alias that was chosen with ``using()``, else the one for writing."""
        return self._db or router.db_for_write(self.model, **self._hints)
