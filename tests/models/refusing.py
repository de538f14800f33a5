"""Databases that refuse something: triggers of a project, and tables in another character set."""

from contextlib import contextmanager

from django.db import connection

from qorworker.models.refusals import fit_of

TABLES = ("job", "attempt", "logline", "resultsrow", "jobfile", "worker", "schedule", "preset", "pause", "auditentry")


@contextmanager
def refusing(table, event, condition):
    """A project's trigger that refuses rows of this table for which *condition* holds. ``NEW`` is the row."""
    name, table = "project_refuses", f"qorworker_{table}"
    with connection.cursor() as cursor:
        for statement in _created(name, table, event, condition):
            cursor.execute(statement)
        try:
            yield
        finally:
            on_table = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER {name}{on_table}")


def _created(name, table, event, condition):
    if connection.vendor == "sqlite":
        yield (
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} WHEN {condition}"
            " BEGIN SELECT RAISE(ABORT, 'the project refuses it'); END"
        )
    elif connection.vendor == "postgresql":
        yield (
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'the project refuses it'; END $$"
        )
        yield (
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {name}()"
        )
    else:
        yield (
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW IF {condition} THEN"
            " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the project refuses it'; END IF"
        )


@contextmanager
def converted(charset):
    """MariaDB's tables in another character set, as those of old projects are."""
    fit_of.cache_clear()
    names = [f"qorworker_{table}" for table in TABLES]
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"CREATE TABLE kept_{name} LIKE {name}")
            cursor.execute(f"ALTER TABLE {name} CONVERT TO CHARACTER SET {charset}")
        try:
            yield
        finally:
            fit_of.cache_clear()
            for name in names:
                cursor.execute(f"DROP TABLE {name}")
                cursor.execute(f"RENAME TABLE kept_{name} TO {name}")
