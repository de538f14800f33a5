"""``Arg``: what an annotation can say about a parameter beyond its type. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from django import forms

_TEXTS = ("label", "help")


@dataclass(frozen=True, kw_only=True)
class Arg:
    """Used as ``Annotated[Decimal, Arg(help="Multiplies every price", min_value="0.1")]``.

    An option that has no meaning for the type is an error, never ignored. For lists the lengths count the items.
    """

    label: Any = ""
    help: Any = ""
    widget: forms.Widget | type[forms.Widget] | None = None
    multiline: bool = False
    min_length: int | None = None
    max_length: int | None = None
    min_value: Any = None
    max_value: Any = None
    max_digits: int | None = None
    decimal_places: int | None = None
    regex: str | None = None
    choices: Iterable[Any] | Callable[[], Iterable[Any]] | None = None  # values or pairs; for models a QuerySet
    validators: Sequence[Callable[[Any], None]] = ()

    def limits(self) -> dict[str, Any]:
        """Return the options that were given, except for those that are only text."""
        given = {option.name: getattr(self, option.name) for option in fields(self) if option.name not in _TEXTS}
        return {
            name: value for name, value in given.items() if value is not None and value is not False and value != ()
        }
