"""Form fields that lose nothing: a Python value reaches the handler as it came in. All processes."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime, AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms.fields import InvalidJSONInput
from django.forms.utils import from_current_timezone
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from qorworker.arguments.plain import conforms, parse_json, storable_text
from qorworker.arguments.secrets import Secret
from qorworker.arguments.values import ExactText, is_password, items_of, python_value, text_of
from qorworker.conf import settings

MOST_ERRORS = 20  # of one list: after so many errors it is most likely a list of something else


class MultilineInput(AdminTextareaWidget):
    """Browsers send line ends as CR LF, whatever was typed. Handlers get LF."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        value = super().value_from_datadict(data, files, name)
        return value.replace("\r\n", "\n") if isinstance(value, str) else value


class TextField(forms.CharField):
    """Text. Typed text is stripped; text from code stays as it is."""

    widget = AdminTextInputWidget
    nullable = False

    def from_python(self, value: Any) -> ExactText:
        return ExactText(text_of(value, may_be_secret=is_password(self.widget)))

    def to_python(self, value: Any) -> Any:
        value = str(value) if isinstance(value, ExactText) else super().to_python(value)
        if value:
            storable_text(value)
        return value


class SecretField(forms.CharField):
    """Text that becomes a ``Secret`` and is never rendered again."""

    nullable = False

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}))
        super().__init__(strip=False, **options)

    def from_python(self, value: Any) -> str:
        return text_of(value, may_be_secret=True)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if text is None:
            return None
        storable_text(text)
        return Secret(text)

    def prepare_value(self, value: Any) -> None:
        """Return nothing, whatever the widget: a form that is shown again with errors asks for the secret again."""


class DateTimeField(forms.DateTimeField):
    """An instant in the current time zone, typed into the admin's two boxes."""

    widget = AdminSplitDateTime
    nullable = False

    def to_python(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            value = self._combined(*value)
        result = super().to_python(value)
        try:
            return timezone.localtime(result) if result is not None and timezone.is_aware(result) else result
        except OverflowError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def _combined(self, date: Any, time: Any) -> dt.datetime | None:
        if date in self.empty_values and time in self.empty_values:
            return None
        day, hour = forms.DateField().clean(date), forms.TimeField().clean(time)
        return from_current_timezone(dt.datetime.combine(day, hour))


Member = tuple[Any, Any]  # the value that the handler gets, and its label


def choice_key(value: Any) -> str:
    """Return a value as the form and the table have it."""
    return str(value.value if isinstance(value, enum.Enum) else value)


class _Choices:
    """Choices whose values are Python values: members of an Enum, numbers, texts."""

    nullable = False

    def __init__(self, *, members: Callable[[], Sequence[Member]], **options: Any) -> None:
        self.members = members
        super().__init__(choices=self._pairs, **options)  # type: ignore[call-arg]

    def _pairs(self) -> list[tuple[str, Any]]:
        return [(choice_key(value), label) for value, label in self.members()]

    def _value(self, key: Any) -> Any:
        return next((value for value, _label in self.members() if choice_key(value) == key), None)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [choice_key(item) for item in value]
        return value if value is None else choice_key(value)


class ChoiceField(_Choices, forms.ChoiceField):
    def _pairs(self) -> list[tuple[str, Any]]:
        pairs = super()._pairs()
        return pairs if self.required or any(key == "" for key, _label in pairs) else [("", "---------"), *pairs]

    def clean(self, value: Any) -> Any:
        return self._value(super().clean(value))


class MultipleChoiceField(_Choices, forms.MultipleChoiceField):
    widget = forms.CheckboxSelectMultiple

    def clean(self, value: Any) -> Any:
        keys = super().clean(value)
        return None if self.nullable and not value and value != [] else [self._value(key) for key in keys]


class ListField(forms.Field):
    """One item on each line. The field of the items cleans each of them."""

    widget = MultilineInput(attrs={"rows": 4})
    nullable = False

    def __init__(self, *, item: forms.Field, **options: Any) -> None:
        self.item = item
        super().__init__(**options)

    def from_python(self, value: Any) -> Any:
        return value if isinstance(value, str) else [python_value(self.item, item) for item in items_of(value)]

    def clean(self, value: Any) -> Any:
        empty = value is None or (value == "" and not isinstance(value, ExactText))
        return None if self.nullable and empty else super().clean(value)

    def to_python(self, value: Any) -> list[Any]:
        if value in (None, ""):
            return []
        lines = [line.strip() for line in value.splitlines()] if isinstance(value, str) else list(value)
        items: list[Any] = []
        errors: list[str] = []
        for place, line in enumerate(lines, 1):
            if line == "" and not isinstance(line, ExactText):
                continue
            if len(errors) >= MOST_ERRORS:
                errors.append(_("The lines from %(line)s on were not checked.") % {"line": place})
                break
            try:
                items.append(self.item.clean(line))
            except ValidationError as error:
                errors += [_("Line %(line)s: %(error)s") % {"line": place, "error": m} for m in error.messages]
        if errors:
            raise ValidationError(errors)
        return items

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return "\n".join(str(self.item.prepare_value(item)) for item in value)
        return value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.prepare_value(initial or []) != (data or ""))


class _Rows(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Each form calls a callable for rows again: they may depend on the day."""

    nullable = False
    fresh: Callable[[], QuerySet[Model]] | None = None

    def __init__(self, queryset: QuerySet[Model], *, fresh: Any = None, **options: Any) -> None:
        super().__init__(queryset, **options)
        self.fresh = fresh

    @property
    def queryset(self) -> Any:
        return self.fresh() if self.fresh is not None else self._get_queryset()  # type: ignore[attr-defined]

    @queryset.setter
    def queryset(self, rows: Any) -> None:
        self.fresh = None
        self._set_queryset(rows)  # type: ignore[attr-defined]


class ModelField(_Rows):
    pass


class ModelListField(_Rows, forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Rows of a model, in the order in which they were given; a QuerySet if the annotation is one."""

    def __init__(self, queryset: QuerySet[Model], *, as_queryset: bool = False, **options: Any) -> None:
        self.as_queryset = as_queryset
        super().__init__(queryset, **options)

    def clean(self, value: Any) -> Any:
        rows = super().clean(value)
        if value is None and self.nullable:
            return None
        if self.as_queryset:
            return rows
        by_key = {str(row.pk): row for row in rows}
        return [by_key[str(pk)] for pk in value or ()]


class UploadField(forms.FileField):
    nullable = False

    def clean(self, data: Any, initial: Any = None) -> Any:
        file = super().clean(data, initial)
        if file:
            check_upload(file)
        return file


def check_upload(file: Any) -> None:
    """Raise ``ValidationError`` for a file above the limit."""
    if file.size > settings.UPLOAD_BYTES:
        raise ValidationError(
            _("The file has %(size)s; the limit is %(limit)s.")
            % {"size": filesizeformat(file.size), "limit": filesizeformat(settings.UPLOAD_BYTES)},
            code="too_large",
        )


class JSONField(forms.JSONField):
    """Any JSON, or JSON of the shape that an annotation describes."""

    widget = MultilineInput(attrs={"rows": 6})
    nullable = False
    empty_values = [None, ""]

    def __init__(self, *, shape: Any = Any, **options: Any) -> None:
        self.shape = shape
        super().__init__(**options)

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        result = parse_json(value)
        if problem := conforms(result, self.shape):
            raise ValidationError(problem, code="invalid")
        return result

    def validate(self, value: Any) -> None:
        if value is None and not self.nullable:
            raise ValidationError(self.error_messages["required"], code="required")

    def prepare_value(self, value: Any) -> Any:
        """Return an empty field for None: the text “null” would be refused where a value is required."""
        return "" if value is None else super().prepare_value(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return the text as it was typed. It was checked when it was cleaned, and is not parsed again."""
        return InvalidJSONInput(data) if isinstance(data, str) and not self.disabled else initial


def members_of(choices: Iterable[Any]) -> list[Member]:
    """Return choices as values with labels; a choice is a value or a pair."""
    return [
        (choice[0], choice[1]) if isinstance(choice, (list, tuple)) else (choice, label_of(choice))
        for choice in choices
    ]


def label_of(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        label = getattr(value, "label", None)
        if isinstance(label, (str, Promise)):
            return label
        return value.name.replace("_", " ").capitalize()
    return str(value)
