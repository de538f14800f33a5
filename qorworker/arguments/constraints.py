"""Constraints of the ``annotated-types`` vocabulary, recognised by the names of their classes. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import StepValueValidator
from django.utils.translation import gettext as _

from qorworker.exceptions import JobTypeError


class Bound:
    """A limit that is itself not allowed."""

    def __init__(self, compare: Callable[[Any, Any], bool], limit: Any, above: bool) -> None:
        self.compare, self.limit, self.above = compare, limit, above

    def __call__(self, value: Any) -> None:
        if not self.compare(value, self.limit):
            message = (
                _("This must be greater than %(limit)s.") if self.above else _("This must be less than %(limit)s.")
            )
            raise ValidationError(message % {"limit": self.limit}, code="bound")


class MultipleOf(StepValueValidator):
    """A limit of which the value must be a multiple. Whole numbers are compared exactly, however large they are."""

    def compare(self, value: Any, limit: Any) -> bool:
        """Return whether *value* is refused."""
        if isinstance(value, int) and isinstance(limit, int):
            return value % limit != 0
        try:
            return super().compare(value, limit)
        except (OverflowError, ValueError):  # no float can hold the value, so it cannot be compared
            return True


def constraints(metadata: Iterable[Any]) -> dict[str, Any]:
    """Return the options of ``Arg`` that correspond to *metadata*."""
    options: dict[str, Any] = {}
    for item in metadata:
        for name, value in _constraint(item).items():
            options[name] = [*options.get(name, ()), *value] if name == "validators" else value
    return options


def _constraint(item: Any) -> dict[str, Any]:
    match type(item).__name__:
        case "Gt" | "Ge" | "Lt" | "Le" | "Interval":
            return _interval(item)
        case "MinLen" | "MaxLen" | "Len":
            return _given(item, "min_length", "max_length")
        case "MultipleOf":
            return {"validators": [MultipleOf(item.multiple_of)]}
    if type(item).__module__.partition(".")[0] == "annotated_types":
        raise JobTypeError(f"the constraint {item!r} is not known")
    return {}


def _given(item: Any, *names: str) -> dict[str, Any]:
    values = {name: getattr(item, name, None) for name in names}
    return {name: value for name, value in values.items() if value not in (None, 0)}


def _interval(item: Any) -> dict[str, Any]:
    limits = {"min_value": getattr(item, "ge", None), "max_value": getattr(item, "le", None)}
    above, below = getattr(item, "gt", None), getattr(item, "lt", None)
    checks = [Bound(operator.gt, above, True)] if above is not None else []
    checks += [Bound(operator.lt, below, False)] if below is not None else []
    return {name: value for name, value in limits.items() if value is not None} | (
        {"validators": checks} if checks else {}
    )
