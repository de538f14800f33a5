"""The keys of results rows: what a job gets that repeats only some rows of another one. Pure."""

from __future__ import annotations

import types
import typing
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Union

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

ROW_KEY_CHARS = 200
# Categories of characters that a key has not: control characters, halves of pairs, line and paragraph separators.
REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})


class RowKeys(Collection[str]):
    """The keys of the rows that a job is for, in their order.

    A handler with a parameter of this type can run again for only the rows that had errors::

        def import_products(context: JobContext, file: UploadedFile, only: RowKeys | None = None) -> None:
            for row in rows_of(file):
                if only is None or row["sku"] in only:
                    ...

    None stands for all rows.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[str] = ()) -> None:
        if isinstance(keys, str):
            raise TypeError("RowKeys() needs a list of keys, not one text.")
        self._keys = dict.fromkeys(keys)
        for key in self._keys:
            if problem := key_problem(key):
                raise ValueError(f"RowKeys(): {problem}")

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __eq__(self, other: object) -> bool:
        return self._keys.keys() == other._keys.keys() if isinstance(other, RowKeys) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._keys))

    def __repr__(self) -> str:
        return f"RowKeys({list(self._keys)!r})"


def key_problem(key: Any) -> str:
    """Return why *key* cannot be the key of a row, in a sentence that names it; empty if it can."""
    if not isinstance(key, str):
        return f"The key of a row is a text, not {type(key).__name__}: {key!r:.200}."
    if not key:
        return "The key of a row is empty."
    if len(key) > ROW_KEY_CHARS:
        return f"The key of a row has {len(key)} characters, and {ROW_KEY_CHARS} are kept: {key[:50]!r}…"
    if not key.isprintable() and any(unicodedata.category(character) in REFUSED for character in key):
        return f"The key of a row has a control character: {key!r}."
    return ""


def is_row_keys(annotation: Any) -> bool:
    """Return whether an annotation means ``RowKeys``, or ``RowKeys | None``."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return {*typing.get_args(annotation)} == {RowKeys, type(None)}
    return annotation is RowKeys


def cleaned(value: Any) -> RowKeys:
    """Return keys that were given, or stored, as ``RowKeys``.

    :raises django.core.exceptions.ValidationError: if they are none.
    """
    if isinstance(value, RowKeys):
        return value
    if not isinstance(value, (list, tuple)):
        raise ValidationError(_("These are not keys of rows."), code="wrong_type")
    try:
        return RowKeys(value)
    except (TypeError, ValueError):
        raise ValidationError(_("These are not keys of rows."), code="wrong_type") from None
