"""What a resumable loop goes over: pairs of a cursor and an item, behind a given cursor. Wherever a job runs.

A cursor is JSON. It says which item was the last one, so that another attempt can go on behind it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import pairwise
from typing import Any, Protocol, TypeVar, runtime_checkable

from django.core.files import File
from django.db.models import Field, Manager, Model, Q, QuerySet, UniqueConstraint
from django.db.models.query import ModelIterable

Item = TypeVar("Item", covariant=True)

_CSV_READER = type(csv.reader(()))


@runtime_checkable
class Source(Protocol[Item]):
    """Something to loop over that can begin behind any of its items."""

    def after(self, cursor: Any) -> Iterable[tuple[Any, Item]]:
        """Return pairs of a cursor, which is JSON, and an item: those behind *cursor*, or all of them behind None."""
        ...


def source_of(items: Any, chunk: int) -> Source[Any]:
    """Return the source for *items*; of a QuerySet, *chunk* rows are loaded at a time.

    Raises ``TypeError`` for something that has no order, or that cannot be gone over again, and ``ValueError`` for a
    QuerySet whose order does not say which row comes next.
    """
    if isinstance(items, Manager):
        items = items.all()
    if isinstance(items, QuerySet):
        return Rows(items, chunk)
    if isinstance(items, Source):
        return items
    if isinstance(items, Sequence) and not isinstance(items, str | bytes | bytearray):
        return Items(items)
    if isinstance(items, File | io.IOBase | csv.DictReader | _CSV_READER):
        return Lines(items)
    raise TypeError(
        f"iterate() cannot go on in the middle of a {type(items).__name__}. It takes a QuerySet, a sequence, a file, a"
        " csv reader, or an object with a method after(cursor) that returns pairs of a cursor and an item."
    )


class Items:
    """A sequence. Its cursors are numbers of items, with the length of the sequence."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def after(self, cursor: Any) -> Iterator[tuple[Any, Any]]:
        """Return the items behind *cursor*. Raises ``ValueError`` if the sequence has another length now."""
        begin, length = cursor or (0, len(self.items))
        if length != len(self.items):
            raise ValueError(f"The sequence has {len(self.items)} items now, and had {length} when the loop began.")
        for index in range(begin, length):
            yield [index + 1, length], self.items[index]


class Lines:
    """A file or a csv reader, at its beginning. Its cursors are numbers of lines or rows."""

    def __init__(self, lines: Iterable[Any]) -> None:
        self.lines = lines

    def after(self, cursor: Any) -> Iterator[tuple[Any, Any]]:
        """Return the lines behind *cursor*. Raises ``ValueError`` if there are fewer lines by now."""
        number = 0
        for number, line in enumerate(self.lines, 1):
            if number > (cursor or 0):
                yield number, line
        if number < (cursor or 0):
            raise ValueError(f"The file has {number} lines or rows now, and the loop has done {cursor} of them.")


class Rows:
    """A QuerySet. Its cursors are the values of the fields that it is ordered by."""

    def __init__(self, rows: QuerySet[Any], chunk: int) -> None:
        if rows.query.is_sliced or rows.query.combinator:
            kind = "a slice" if rows.query.is_sliced else f"a {rows.query.combinator}()"
            raise ValueError(f"iterate() cannot go over {kind} of a QuerySet: it filters what it loads next.")
        if not issubclass(rows._iterable_class, ModelIterable):
            raise TypeError("iterate() goes over instances of a model, not over values(). Use only() to load less.")
        if rows.query.distinct_fields:
            raise ValueError("iterate() cannot go over distinct() with fields: it filters what it loads next.")
        if any(each.contains_over_clause for each in rows.query.annotations.values()):
            raise ValueError("iterate() cannot go over rows with a window function: it filters what it loads next.")
        self.fields = unique_order(rows)
        self.rows = rows.order_by(*(f"{sign}{field.attname}" for field, sign in self.fields))
        self.rows.query.standard_ordering = True  # what reverse() has changed is in the signs
        self.chunk = chunk
        self._load_order()

    def count_after(self, cursor: Any) -> int:
        """Return how many rows there are behind *cursor*."""
        return self._behind(cursor).count()

    def after(self, cursor: Any) -> Iterator[tuple[Any, Any]]:
        """Return the rows behind *cursor*. Rows that come in before it meanwhile are left out."""
        while True:
            rows = list(self._behind(cursor)[: self.chunk + 1])  # with the first one of the next chunk
            cursors = [self._cursor(row) for row in rows]
            for earlier, later in pairwise([cursor, *cursors]):
                if earlier == later:
                    raise ValueError(self._repeated(later))
            for cursor, row in zip(cursors[: self.chunk], rows, strict=False):
                yield cursor, row
            if len(rows) <= self.chunk:
                return

    def _load_order(self) -> None:
        """Load the fields of the order even if only() or defer() leaves them out: each would take a query for a row."""
        names, is_deferred = self.rows.query.deferred_loading
        needed = {field.name for field, _ in self.fields if not field.primary_key}
        self.rows.query.deferred_loading = names - needed if is_deferred else names | needed, is_deferred

    def _repeated(self, cursor: list[Any]) -> str:
        names = ", ".join(field.name for field, _ in self.fields)
        return (
            f"iterate() has found two rows with the same {names} ({cursor}), and may leave one of them out. If a join"
            " repeats rows, use distinct() or Exists(); otherwise order by other fields."
        )

    def _cursor(self, row: Model) -> list[Any]:
        values = ((field, getattr(row, field.attname)) for field, _ in self.fields)
        return [value if isinstance(value, int | str) else field.value_to_string(row) for field, value in values]

    def _behind(self, cursor: Any) -> QuerySet[Any]:
        if cursor is None:
            return self.rows
        behind, same = Q(), Q()
        for (field, sign), value in zip(self.fields, cursor, strict=True):
            value = field.to_python(value)
            behind |= same & Q(**{f"{field.attname}__{'lt' if sign else 'gt'}": value})
            same &= Q(**{field.attname: value})
        if len(cursor) > 1:  # else an index on these fields is read from its beginning: OR is no range of it
            field, sign = self.fields[0]
            behind &= Q(**{f"{field.attname}__{'lte' if sign else 'gte'}": field.to_python(cursor[0])})
        return self.rows.filter(behind)


def unique_order(rows: QuerySet[Any]) -> list[tuple[Field[Any, Any], str]]:
    """Return the fields that order a QuerySet, with "-" for a falling one: by default its primary key.

    The order in ``Meta`` does not count. Raises ``ValueError`` for an order that two rows may share.
    """
    meta, order = rows.model._meta, []
    for name in rows.query.order_by or ("pk",):
        sign = "-" if str(name).startswith("-") is rows.query.standard_ordering else ""
        plain = str(name).removeprefix("-")
        field = next((each for each in meta.concrete_fields if plain in (each.name, each.attname)), None)
        field = meta.pk if plain == "pk" else field
        if not isinstance(name, str) or field is None:
            raise ValueError(f"iterate() cannot go by {name!r}: order by fields of {meta.object_name} itself.")
        if field.null:
            raise ValueError(f"iterate() cannot go by {plain!r}, which may be null: order by other fields.")
        order.append((field, sign))
        if field.unique:
            return order
    names = {field.name for field, _ in order}
    together = [set(fields) for fields in meta.unique_together]
    together += [
        set(each.fields) for each in meta.constraints if isinstance(each, UniqueConstraint) and not each.condition
    ]
    if any(fields and fields <= names for fields in together):
        return order
    raise ValueError(f"iterate() needs an order that no two rows share: add “pk” behind {', '.join(sorted(names))}.")


def length_behind(source: Source[Any], cursor: Any, done: int) -> int | None:
    """Return how many items a source has in all if *done* of them are done, or None if it does not say."""
    if isinstance(source, Rows):
        return done + source.count_after(cursor)
    return len(source) if isinstance(source, Sized) else None
