"""The base of the commands: a problem of the database is reported in one sentence. Commands."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connections, router

from qorworker.database import sqlite
from qorworker.exceptions import NotMigrated
from qorworker.models import Job
from qorworker.models.tables import require_tables


class DatabaseCommand(BaseCommand):
    """A command that works on the queue's tables, in the database of its option ``--database``."""

    using: str

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.using = options["database"] or router.db_for_write(Job)
        if self.using not in connections.settings:
            chosen_by = "--database" if options["database"] else "A router of DATABASE_ROUTERS"
            known = ", ".join(connections.settings)
            raise CommandError(f"{chosen_by} names the database {self.using!r}; DATABASES has: {known}.")
        try:
            return super().execute(*args, **options)
        except NotMigrated as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(self._sentence(error)) from error

    def require_database(self) -> None:
        """Raise an error if the database does not answer or has not the tables of this code."""
        require_tables(self.using)

    def _sentence(self, error: Error) -> str:
        connection = connections[self.using]
        if not connection.in_atomic_block:
            connection.close()
        if problem := sqlite.unwritable(connection, error):
            return problem
        text = " ".join(str(error.args[-1] if error.args else error).split())
        return f"The database {self.using!r} did not carry out a statement: {text}"
