"""The table of arguments that the parser of a management command may have: from action to form field. Pure."""

from __future__ import annotations

import argparse
import datetime as dt
import decimal
import html
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError
from django.forms.utils import pretty_name
from django.utils.functional import lazy
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker.arguments import fields
from qorworker.arguments.command_line import name_of, pair_of
from qorworker.arguments.secrets import Secret
from qorworker.exceptions import JobTypeError
from qorworker.text.masking import MASK, Mask

Texts = Sequence[Sequence[str]]  # for each time that an argument is given, the texts that it gets
MOST_CHOICES = 500  # more are typed, and the command refuses what it does not know
MOST_TIMES = 100  # that an option which is counted can be given


@dataclass
class Asked:
    """An argument of a command for which a form asks.

    :ivar place: its place in the parser.
    :ivar texts: the way of a cleaned value to texts.
    """

    name: str
    place: int
    action: argparse.Action
    field: forms.Field
    texts: Callable[[Any], Texts]

    def given(self, value: Any) -> Texts:
        """Return the texts for a cleaned value: none for one that was left empty."""
        is_empty = value is None or (value == [] and self.field.initial is None)
        return [] if is_empty else self.texts(value)


class Asking:
    """What makes the fields of one parser.

    :param unfilled: the arguments whose defaults are not filled in, because the command has to choose them.
    :param secrets: the arguments that are secrets.
    """

    def __init__(
        self, prog: str, unfilled: Iterable[argparse.Action] = (), secrets: Iterable[argparse.Action] = ()
    ) -> None:
        self.prog = prog
        self.unfilled, self.secrets = list(unfilled), list(secrets)

    def asked(self, name: str, place: int, action: argparse.Action) -> Asked:
        """Return the field of an argument, and what it means.

        :raises qorworker.exceptions.JobTypeError: if no field can ask for it.
        """
        field: forms.Field
        texts: Callable[[Any], Texts]
        if action in self.secrets:
            field, texts = self._secret(action), _one_text
        elif action.nargs == 0:
            field, texts = self._flag(action)
        elif isinstance(action, _STORES):
            field, texts = self._values(action)
        else:
            raise _no_field(action)
        field.label = pretty_name(name_of(action).lstrip("-+").replace("-", "_"))
        field.help_text = _help(action, self.prog, field.help_text, hidden=action in self.secrets)
        if isinstance(action.metavar, str) and action.option_strings and not isinstance(field, fields.ChoiceField):
            field.widget.attrs["placeholder"] = action.metavar
        return Asked(name, place, action, field, texts)

    def _flag(self, action: argparse.Action) -> tuple[forms.Field, Callable[[Any], Texts]]:
        option = name_of(action)
        if isinstance(action, argparse.BooleanOptionalAction):
            yes, no = pair_of(action)
            default = None if action in self.unfilled else action.default
            if isinstance(default, bool):
                field: forms.Field = forms.BooleanField(required=False, initial=default)
            else:
                field = forms.NullBooleanField(required=False)
            return field, lambda value: [[yes if value else no]]
        if isinstance(action, argparse._CountAction):
            field = forms.IntegerField(
                required=False, min_value=0, max_value=MOST_TIMES, initial=0, widget=widgets.AdminIntegerFieldWidget,
                help_text=gettext_lazy("How many times the option is given."),
            )  # fmt: skip
            return field, lambda value: [[option]] * value
        if not isinstance(action, (argparse._StoreConstAction, argparse._AppendConstAction)):
            raise _no_field(action)
        return forms.BooleanField(required=False, initial=False), lambda value: [[option]] if value else []

    def _values(self, action: argparse.Action) -> tuple[forms.Field, Callable[[Any], Texts]]:
        appends = isinstance(action, argparse._AppendAction) and not isinstance(action, argparse._ExtendAction)
        if isinstance(action.type, argparse.FileType):
            raise JobTypeError("FileType opens a file where the form is cleaned; take its path as a text")
        if appends and action.nargs is not None:
            raise JobTypeError("a list of lists has no form field")
        if action.nargs in (argparse.REMAINDER, argparse.PARSER):
            raise JobTypeError("the rest of a command line has no form field")
        if appends:
            return self._several(action, None), lambda value: [[_text(each)] for each in value]
        if action.nargs in (None, argparse.OPTIONAL, 1):
            return self._single(action), _one_text
        return self._several(action, self._default(action)), lambda value: [[_text(each) for each in value]]

    def _secret(self, action: argparse.Action) -> forms.Field:
        if not isinstance(action, _STORES) or action.nargs not in (None, argparse.OPTIONAL, 1) or action.choices:
            raise JobTypeError("a secret is always one text")
        if action.default not in (None, "", argparse.SUPPRESS):
            raise JobTypeError("a secret must not have a default: “--help” would show it")
        field = fields.SecretField(
            required=_is_required(action), empty_value=None, validators=[Converts(action.type, hides=True)]
        )
        field.nullable = not field.required
        return field

    def _single(self, action: argparse.Action) -> forms.Field:
        default = self._default(action)
        needed = _is_required(action)
        field = _item(action, required=needed or default is not None)
        field.nullable = not field.required  # type: ignore[attr-defined]
        if isinstance(field, fields.TextField):
            # A text that was filled in can be emptied: then the command gets an empty one.
            field.required, field.nullable = needed, default is None
            field.empty_value = None if default is None else ""
        field.initial = default
        return field

    def _several(self, action: argparse.Action, default: Any) -> forms.Field:
        needs_one = action.nargs == argparse.ONE_OR_MORE or isinstance(action.nargs, int)
        required = _is_required(action) or (default is not None and needs_one)
        item = _item(action, required=True)
        more: list[Any] = [_counted(action.nargs)] if isinstance(action.nargs, int) else []
        options: dict[str, Any] = {"required": required, "initial": default, "validators": more}
        if isinstance(item, fields.ChoiceField) and not more:
            field: forms.Field = fields.MultipleChoiceField(members=item.members, **options)
        else:
            hint = _lines(action)
            field = fields.ListField(item=item, help_text=hint, **options)
        field.nullable = not required and default is None  # type: ignore[attr-defined]
        return field

    def _default(self, action: argparse.Action) -> Any:
        """Return the default of an argument as its form has it; None if none can be filled in."""
        default, convert = action.default, action.type or str
        if default in (None, argparse.SUPPRESS) or action in self.unfilled:
            return None
        is_list = action.nargs not in (None, argparse.OPTIONAL)
        if is_list and (not isinstance(default, (list, tuple)) or not default or not action.option_strings):
            return None
        texts = []
        for each in default if is_list else [default]:
            text = _text(each)
            if not isinstance(each, str) and not _becomes(convert, text, each):
                return None
            texts.append(text)
        try:
            cleaned = [_item(action, required=False).clean(text) for text in texts]
        except ValidationError:
            return None
        return cleaned if is_list and action.nargs != 1 else cleaned[0]


class Converts:
    """Refuses a text that the type of an argument does not take. It is called as the parser would call it."""

    def __init__(self, convert: Any, *, hides: bool = False) -> None:
        self.convert, self.hides = convert, hides

    def __call__(self, text: str) -> None:
        if self.convert in (None, str):
            return
        try:
            self.convert(text)
        except ValidationError as error:
            raise ValidationError(self._hidden(text, " ".join(error.messages)), code="invalid") from None
        except argparse.ArgumentTypeError as error:
            raise ValidationError(self._hidden(text, str(error)), code="invalid") from None
        except Exception:  # the code of the project; a command line would show a traceback
            kind = getattr(self.convert, "__name__", type(self.convert).__name__)
            raise ValidationError(_("This is not a valid %(kind)s.") % {"kind": kind}, code="invalid") from None

    def _hidden(self, text: str, message: str) -> str:
        return Mask([text])(message) if self.hides else message


def _no_field(action: argparse.Action) -> JobTypeError:
    return JobTypeError(f"no form field exists for its action, {type(action).__name__}")


def _item(action: argparse.Action, *, required: bool) -> forms.Field:
    """Return the field of one value."""
    convert = action.type
    if isinstance(action.choices, range) and convert is int and action.choices.step == 1 and len(action.choices):
        return forms.IntegerField(
            required=required, min_value=action.choices[0], max_value=action.choices[-1],
            widget=widgets.AdminIntegerFieldWidget,
        )  # fmt: skip
    if action.choices is not None and (members := _members(action)):
        return fields.ChoiceField(required=required, members=lambda: members)
    for kind, make in _FIELDS:
        if convert == kind:
            return make(required=required)
    return fields.TextField(required=required, empty_value=None, validators=[Converts(convert)])


def _members(action: argparse.Action) -> list[fields.Member]:
    """Return the choices as the texts that stand for them; none if there are too many to list."""
    choices = action.choices
    if not isinstance(choices, Iterable) or (isinstance(choices, Sized) and len(choices) > MOST_CHOICES):
        return []
    found = []
    for choice in choices:
        texts = (_text(choice), getattr(choice, "value", None), getattr(choice, "name", None))
        text = next((t for t in texts if isinstance(t, str) and _becomes(action.type or str, t, choice)), None)
        if text is None:
            raise JobTypeError(f"no text stands for its choice {choice!r}")
        found.append((text, text))
    return found


def _becomes(convert: Any, text: str, value: Any) -> bool:
    try:
        return bool(convert(text) == value)
    except Exception:  # the code of the project
        return False


def _text(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _one_text(value: Any) -> Texts:
    return [[_text(value.get_secret_value() if isinstance(value, Secret) else value)]]


def _is_required(action: argparse.Action) -> bool:
    # A parser calls a positional one with “*” required, and takes it without any value.
    if action.option_strings:
        return action.required
    return action.nargs not in (argparse.OPTIONAL, argparse.ZERO_OR_MORE)


def _counted(number: int) -> Callable[[Any], None]:
    def check(values: Sequence[Any]) -> None:
        if len(values) != number:
            raise ValidationError(
                _("Enter %(number)s values, not %(given)s.") % {"number": number, "given": len(values)}, code="count"
            )

    return check


def _lines(action: argparse.Action) -> Any:
    hint = gettext_lazy("One on each line.")
    if isinstance(action.metavar, tuple):
        return format_lazy("{names}. {hint}", names=html.escape(", ".join(action.metavar), quote=False), hint=hint)
    return hint


def _help(action: argparse.Action, prog: str, hint: Any, *, hidden: bool) -> Any:
    """Return the help text of an argument, with its own hint behind it."""
    if not action.help:
        return hint
    # The admin prints help texts as they are, and those of commands are not meant as HTML.
    said = lazy(lambda: html.escape(_expanded(action, prog, hidden), quote=False), str)()
    return format_lazy("{said} {hint}", said=said, hint=hint) if hint else said


def _expanded(action: argparse.Action, prog: str, hidden: bool) -> str:
    """Return a help text with the values that it names: ``%(default)s`` and others."""
    values = {name: value for name, value in vars(action).items() if value is not argparse.SUPPRESS}
    values = {name: getattr(value, "__name__", value) for name, value in values.items()} | {"prog": prog}
    if isinstance(action.choices, Iterable):
        values["choices"] = ", ".join(map(str, action.choices))
    if hidden:
        values["default"] = MASK
    try:
        return str(action.help) % values
    except (KeyError, TypeError, ValueError):  # a help text that argparse could not show either
        return str(action.help)


_STORES = (argparse._StoreAction, argparse._AppendAction)
_FIELDS: tuple[tuple[Any, Callable[..., forms.Field]], ...] = (
    (int, lambda **options: forms.IntegerField(widget=widgets.AdminIntegerFieldWidget, **options)),
    (float, forms.FloatField),
    (decimal.Decimal, forms.DecimalField),
    (dt.date.fromisoformat, lambda **options: forms.DateField(widget=widgets.AdminDateWidget, **options)),
)
