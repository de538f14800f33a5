"""The arguments of a job type: what it takes, its form, and the way to the table and back. All processes.

Values pass the form's fields twice: before they are stored, and again before a handler gets them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.files import File
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from qorworker.arguments import codec, files, shown
from qorworker.arguments.arg import Arg
from qorworker.arguments.definition import Definition, define
from qorworker.arguments.drift import Drift, drift_of
from qorworker.arguments.shown import Shown
from qorworker.arguments.signature import MISSING, description
from qorworker.arguments.values import python_value
from qorworker.conf import settings
from qorworker.exceptions import InvalidArguments, JobTypeError
from qorworker.records import mask

__all__ = ["Arg", "Arguments", "Drift", "Shown"]


class Arguments:
    """The arguments of one job type. Everything is worked out when it is first needed, then kept."""

    def __init__(self, job_type: str, function: Callable[..., Any], form: type[Any] | None = None) -> None:
        self.job_type = job_type
        self.function = function
        self.given = form
        self._definition: Definition | None = None

    @property
    def definition(self) -> Definition:
        # One with problems is made anew: a form may have asked for a table that was not there yet.
        if self._definition is None or self._definition.problems:
            self._definition = define(self.job_type, self.function, self.given)
        return self._definition

    def problems(self) -> dict[str, str]:
        """Arguments that cannot be, with the reason; for the system check."""
        return self.definition.problems

    @property
    def context_parameter(self) -> str | None:
        return self.definition.context_parameter

    @cached_property
    def description(self) -> str:
        return description(self.function.__doc__ or "")

    @property
    def form_class(self) -> type[Any]:
        """The form, with the admin's widgets: a ``Form``, or a given ``ModelForm``."""
        return self._sound().form_class

    @property
    def fields(self) -> dict[str, forms.Field]:
        """The form's fields by name, to look at: they are shared by everybody."""
        return self._sound().fields

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a name or a type changes."""
        told = [[name, *codec.kind_of(field)] for name, field in self.fields.items()]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    # In.

    def clean(self, values: Mapping[str, Any], files: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """*values*, as code passes them, with their types. Raises ``InvalidArguments`` with each field's errors."""
        given = {**values, **(files or {})}
        errors = {name: [_("There is no such argument.")] for name in given if name not in self.fields}
        cleaned: dict[str, Any] = {}
        for name, field in self.fields.items():
            try:
                value = python_value(field, given[name] if name in given else self._default(name, field))
                cleaned[name] = value if self.given else field.clean(value)
            except ValidationError as error:
                errors[name] = error.messages
        if self.given and not errors:
            cleaned, errors = self._through_form(cleaned)
        if errors:
            raise InvalidArguments(self.job_type, self._masked(errors, given))
        return cleaned

    def dump(self, cleaned: Mapping[str, Any], kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """*cleaned* as JSON for ``Job.arguments``. Uploads are stored last, when nothing else can fail.

        *kept* are secrets and files that stay as they are stored; files that were opened for them are closed.
        """
        kept = kept or {}
        _close({name: cleaned.get(name) for name in kept})
        stored: dict[str, Any] = {}
        errors: dict[str, list[str]] = {}
        for name, field in self.fields.items():
            try:
                stored[name] = kept[name] if name in kept else codec.dump(field, cleaned.get(name))
            except ValidationError as error:
                errors[name] = error.messages
        if not errors and self.given:
            errors = self._unreadable(stored)
        if not errors and (size := len(json.dumps(stored, default=str))) > settings.ARGUMENTS_BYTES:
            largest = max(stored, key=lambda name: len(json.dumps(stored[name], default=str)))
            told = _("The arguments take %(size)s bytes, and %(limit)s are allowed. This is the largest.")
            figures = {"size": size, "limit": settings.ARGUMENTS_BYTES}
            shown_as = {name: number_format(figure, force_grouping=True) for name, figure in figures.items()}
            errors = {largest: [told % shown_as]}
        if errors:
            raise InvalidArguments(self.job_type, errors)
        return self._keep_uploads(stored)

    # Out.

    def load(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments for the handler. Raises ``InvalidArguments``, or ``SecretsUnavailable``."""
        if not isinstance(stored, Mapping):
            raise InvalidArguments(self.job_type, {"__all__": [_("What is stored is no list of arguments.")]})
        errors = {name: [_("This argument no longer exists.")] for name in stored if name not in self.fields}
        cleaned: dict[str, Any] = {}
        for name, field in self.fields.items():
            try:
                if name in stored:
                    cleaned[name] = codec.load(field, name, stored[name])
                else:
                    cleaned[name] = field.clean(python_value(field, self._default(name, field)))
            except ValidationError as error:
                errors[name] = error.messages
        if errors:
            raise InvalidArguments(self.job_type, errors)
        return self.definition.deliver(cleaned)

    def reuse(self, stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """The values of *stored* with *changes*, for ``clean``. A secret is not copied: it must be in the changes."""
        values: dict[str, Any] = dict(changes)
        errors: dict[str, list[str]] = {}
        for name, value in stored.items():
            if name in changes:
                continue
            field = self.fields.get(name)
            try:
                if field is None:
                    raise ValidationError(_("This argument no longer exists."))
                values[name] = codec.reuse(field, value)
            except ValidationError as error:
                errors[name] = error.messages
        if errors:
            raise InvalidArguments(self.job_type, errors)
        return values

    def change(self, stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """*stored* with *changes*, cleaned, as JSON again. Secrets and files stay as they are if they are not changed.

        What no longer is an argument is left out. Raises ``InvalidArguments``, or ``SecretsUnavailable``.
        """
        known = {name: value for name, value in stored.items() if name in self.fields and name not in changes}
        private = {n: value for n, value in known.items() if codec.is_private(self.fields[n]) and value is not None}
        values: dict[str, Any] = {}
        errors: dict[str, list[str]] = {}
        for name, value in private.items():
            try:
                values[name] = codec.load(self.fields[name], name, value)
            except ValidationError as error:
                errors[name] = error.messages
        try:
            if errors:
                raise InvalidArguments(self.job_type, errors)
            rest = {name: value for name, value in known.items() if name not in private}
            return self.dump(self.clean({**values, **self.reuse(rest, changes)}), private)
        finally:
            _close(values)

    def identity(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """*stored* without what differs each time that the same is stored. Holds secrets in the clear."""
        known = self.fields
        return {
            name: codec.identity(known[name], name, value) if name in known else value for name, value in stored.items()
        }

    def ask(self, rule: Callable[[dict[str, Any]], Any], stored: Mapping[str, Any], told: str) -> Any:
        """What *rule* says of the arguments: a JSON value. It gets them as the handler does.

        Raises ``InvalidArguments`` if it fails, with *told*, in which ``%s`` stands for its error, and
        ``SecretsUnavailable``.
        """
        loaded = self.load(stored)
        try:
            value = rule(loaded)
            json.dumps(value, cls=DjangoJSONEncoder)
        except Exception as error:
            errors = {"__all__": [told % f"{type(error).__name__}: {error}"]}
            raise InvalidArguments(self.job_type, self._masked(errors, loaded)) from error
        finally:
            _close(loaded)
        return value

    def drift(self, job: Any) -> Drift:
        """What changed in the form since *job* was stored; falsy if it still fits."""
        if job.fingerprint == self.fingerprint:
            return Drift()
        return self.compare(self.fields, job.arguments)

    def compare(self, known: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> Drift:
        """What of *stored* does not fit these fields, which may be those of one form with fewer rows to choose from."""
        return drift_of(known, stored)

    # For people.

    def display(self, stored: Mapping[str, Any]) -> list[Shown]:
        """Each argument as people may see it; secrets as dots. Asks no database."""
        return shown.display(self._known_fields(), stored)

    def summary(self, stored: Mapping[str, Any], limit: int = 80) -> str:
        """The arguments in one line of at most *limit* characters; secrets as dots. Asks no database."""
        return shown.summary(self._known_fields(), stored, limit)

    def initial(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What fills the form again; without secrets, files, and what no longer fits."""
        return shown.initial(self.fields, stored)

    def has_secrets(self, stored: Mapping[str, Any]) -> bool:
        """Whether *stored* holds a secret, which a new job must be given again."""
        return any(isinstance(value, dict) and codec.SECRET in value for value in stored.values())

    def secret_values(self, stored: Mapping[str, Any]) -> list[str]:
        """The plain texts that must never be shown. Raises ``SecretsUnavailable``."""
        return codec.secret_texts(self._known_fields(), stored)

    # Steps.

    def _sound(self) -> Definition:
        if self.definition.problems:
            told = "; ".join(f"{name}: {problem}" for name, problem in self.definition.problems.items())
            raise JobTypeError(f"Job type {self.job_type!r} ({self.definition.place}): {told}.")
        return self.definition

    def _known_fields(self) -> Mapping[str, forms.Field]:
        return self.definition.fields

    def _default(self, name: str, field: forms.Field) -> Any:
        """The value for an argument that was left out. Raises ``ValidationError`` if it has none."""
        default = self.definition.defaults.get(name, MISSING)
        if default is MISSING and self.given:
            default = field.initial() if callable(field.initial) else field.initial
            return False if default is None and isinstance(field, forms.BooleanField) else default
        if default is MISSING:
            raise ValidationError(str(field.error_messages["required"]), code="required")
        return default

    def _through_form(self, prepared: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
        """Through the whole given form, its ``clean`` included, as if the values had been typed in."""
        data: dict[str, Any] = {}
        form = self.form_class(data=data)
        for name, field in form.fields.items():
            data[form.add_prefix(name)] = prepared.get(name)
            field.widget = _AsGiven()
        told = {name: [str(message) for message in messages] for name, messages in form.errors.items()}
        return dict(form.cleaned_data), told

    def _unreadable(self, stored: Mapping[str, Any]) -> dict[str, list[str]]:
        """A given form may turn values into something that its own fields do not take: find out now, not at the run."""
        errors: dict[str, list[str]] = {}
        for name, field in self.fields.items():
            if isinstance(stored[name], File) or codec.is_secret(field):
                continue
            try:
                codec.load(field, name, stored[name])
            except ValidationError as error:
                told = _("What the form made of it does not fit its own field: %(error)s")
                errors[name] = [told % {"error": message} for message in error.messages]
        return errors

    def _keep_uploads(self, stored: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        try:
            for name, value in stored.items():
                kept[name] = files.keep(value) if isinstance(value, File) else value
        except BaseException:
            files.discard(kept, self.fields)
            raise
        return kept

    def _masked(self, errors: Mapping[str, list[str]], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """*errors* without the secrets that a validator may have quoted."""
        texts = [
            str(codec.plain(given[name]))
            for name, field in self._known_fields().items()
            if name in given and codec.is_secret(field) and codec.plain(given[name])
        ]
        told = {name if name != NON_FIELD_ERRORS else "__all__": list(messages) for name, messages in errors.items()}
        return {name: [mask(str(message), texts) for message in messages] for name, messages in told.items()}


def _close(values: Mapping[str, Any]) -> None:
    for value in values.values():
        if isinstance(value, File):
            value.close()


class _AsGiven(forms.Widget):
    """Hands a Python value to its field; ``Widget`` itself reads the value under the field's name."""
