"""Reads what a statement of SQL does, as far as a rehearsal has to know. Pure.

It does not parse SQL. It splits it at each semicolon, even in a literal, and knows the words with which a statement may
begin. So what it takes for harmless is harmless, and what it does not know is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Blanks, comments and parentheses before a statement. Not MySQL's comments that are executed: /*! … */ and /*M! … */.
_BEFORE = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?!M?!).*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")
_NAME = r"""((?:[`"\[]?[\w$]+[`"\]]?\s*\.\s*)?(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+))"""
_TABLES = {
    "INSERT": re.compile(rf"\bINSERT\s+(?:\w+\s+)*?INTO\s+{_NAME}", re.IGNORECASE),
    "REPLACE": re.compile(rf"\bREPLACE\s+(?:\w+\s+)*?INTO\s+{_NAME}", re.IGNORECASE),
    "UPDATE": re.compile(
        rf"\bUPDATE\s+(?:(?:OR\s+\w+|ONLY|LOW_PRIORITY|IGNORE)\s+)*(?!SET\b|OF\b|SKIP\b|NOWAIT\b){_NAME}", re.IGNORECASE
    ),
    "DELETE": re.compile(rf"\bDELETE\s+(?:\w+\s+)*?FROM\s+(?:ONLY\s+)?{_NAME}", re.IGNORECASE),
    "MERGE": re.compile(rf"\bMERGE\s+INTO\s+(?:ONLY\s+)?{_NAME}", re.IGNORECASE),
}

READS = frozenset({"SELECT", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "FETCH", "MOVE", "CLOSE"})
SAVEPOINTS = frozenset({"SAVEPOINT", "RELEASE", "ROLLBACK"})
WRITES = frozenset(_TABLES)
# What else may begin a statement because a transaction that is rolled back takes it back. DDL of MySQL commits.
MORE = {
    "postgresql": frozenset({
        "ALTER", "ANALYZE", "CALL", "CLUSTER", "COMMENT", "CREATE", "DECLARE", "DO", "DROP", "GRANT", "LISTEN",
        "LOCK", "NOTIFY", "REFRESH", "REINDEX", "RESET", "REVOKE", "SET", "TRUNCATE", "UNLISTEN",
    }),
    "sqlite": frozenset({"ALTER", "ANALYZE", "CREATE", "DROP", "PRAGMA", "REINDEX"}),
    "mysql": frozenset({"SET"}),
}  # fmt: skip
_QUIET = READS | SAVEPOINTS | {"SET", "RESET", "DECLARE"}  # what changes no data
# Of MySQL: these commit, or run another statement, or reach beyond the session.
_SETS = re.compile(r"\b(autocommit|password|statement|global|persist|persist_only|role|completion_type)\b", re.I)


class Statement(NamedTuple):
    """What one statement does."""

    kind: str  # its first word; of one that begins with WITH, the word of what it changes, or SELECT
    table: str  # that it changes, without its schema; empty if that is not known
    savepoint: str = ""  # the name of a savepoint; of ROLLBACK, to which it goes back

    @property
    def changes(self) -> bool:
        """Whether it may change anything but the session."""
        return self.kind not in _QUIET


class NotAllowed(Exception):
    """A statement that a rehearsal cannot take back, or that it does not know. Its text is the beginning of it."""


def read(sql: str, vendor: str) -> list[Statement]:
    """Return what the statements of a text do.

    :param vendor: ``connection.vendor``.
    :raises NotAllowed: for one that ends the transaction, that its rollback would not take back, or that is unknown.
    """
    return [_read(text, vendor) for text in _parts(sql)]


def _parts(sql: str) -> Iterator[str]:
    for part in sql.split(";"):
        if text := part[_BEFORE.match(part).end() :]:  # type: ignore[union-attr]
            yield text


def _read(text: str, vendor: str) -> Statement:
    found = _WORD.match(text)
    word = found[0].upper() if found else ""
    if word == "WITH":
        word = next((kind for kind in _TABLES if _TABLES[kind].search(text)), "SELECT")
    if word in SAVEPOINTS:
        return _savepoint(word, text)
    if word not in READS | WRITES | MORE.get(vendor, frozenset()):
        raise NotAllowed(_beginning(text))
    if word == "SET" and vendor == "mysql" and _SETS.search(text):
        raise NotAllowed(_beginning(text))
    if word == "PRAGMA" and "=" not in text:
        word = "SHOW"  # it reads a setting of the session
    table = _TABLES[word].search(text) if word in WRITES else None
    return Statement(word, _bare(table[1]) if table else "")


def _savepoint(word: str, text: str) -> Statement:
    names = text.split()
    if word == "ROLLBACK" and (len(names) < 3 or "TO" not in (name.upper() for name in names[1:3])):
        raise NotAllowed(_beginning(text))
    return Statement(word, "", _bare(names[-1]))


def _bare(name: str) -> str:
    return re.split(r"\s*\.\s*", name)[-1].strip('`"[]')


def _beginning(text: str) -> str:
    """Return the first two words: more of it might be data."""
    return " ".join(text.split()[:2])[:60]
