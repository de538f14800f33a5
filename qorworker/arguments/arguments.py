"""The arguments of one job type: its form, and the way of values to the table and back. All processes.

Values pass the form's fields twice: before they are stored, and again before a handler gets them. Plain values whose
fields would not change them take a shortcut to the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import codec, entered, files, given_form, row_keys, shown, stored_again
from qorworker.arguments.definition import Definition, define
from qorworker.arguments.drift import Drift, drift_of
from qorworker.arguments.errors import Errors, masked
from qorworker.arguments.plain import too_large
from qorworker.arguments.row_keys import RowKeys
from qorworker.arguments.shown import Shown
from qorworker.arguments.signature import MISSING, description
from qorworker.arguments.values import python_value
from qorworker.exceptions import InvalidArguments, JobTypeError, UploadsUnavailable
from qorworker.text.masking import Mask

_to_json = json.JSONEncoder(default=str).encode


class Arguments:
    """The arguments of one job type. Its form is made when it is first needed, then kept.

    :param job_type: the name of the job type.
    :param function: its handler.
    :param form: a ``Form``, ``ModelForm`` or model class that is used instead of the handler's signature.
    """

    hint = "Use a type that becomes a field, or give a form with @job(form=…)."  # for one with problems

    def __init__(self, job_type: str, function: Callable[..., Any], form: type[Any] | None = None) -> None:
        self.job_type = job_type
        self.function = function
        self.given = form
        self._definition: Definition | None = None

    @property
    def definition(self) -> Definition:
        # A definition with problems is made again: a form may have queried a table that did not exist yet.
        if self._definition is None or self._definition.problems:
            self._definition = define(self.job_type, self.function, self.given)
        return self._definition

    def problems(self) -> dict[str, str]:
        """Return what is wrong with the definition, by argument, for the system check."""
        return self.definition.problems

    @property
    def context_parameter(self) -> str | None:
        return self.definition.context_parameter

    @property
    def row_keys_parameter(self) -> str | None:
        """The parameter that gets the keys of the rows to repeat; None if the handler has none."""
        return self.definition.row_keys_parameter

    @cached_property
    def description(self) -> str:
        return description(self.function.__doc__ or "")

    @property
    def form_class(self) -> type[Any]:
        """The form, with the admin's widgets: a ``Form``, or a ``ModelForm`` that the project gives."""
        return self._sound().form_class

    @property
    def fields(self) -> dict[str, forms.Field]:
        """The form's fields by name. They are shared: do not change them."""
        return self._sound().fields

    @property
    def required(self) -> set[str]:
        """The names of the arguments that must be given."""
        defaults = self.definition.defaults
        return {
            name
            for name, field in self.fields.items()
            if (field.required if self.given else defaults.get(name, MISSING) is MISSING)
        }

    @cached_property
    def fingerprint(self) -> str:
        """A hash that changes when a name or a type changes."""
        kinds = [[name, *codec.kind_of(field)] for name, field in self.fields.items()]
        return hashlib.sha256(json.dumps(kinds).encode()).hexdigest()[:16]

    # In.

    def named(self, values: Sequence[Any], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return *arguments* together with those that were given by position.

        :param values: arguments by position, in the order of the signature or of the form's fields.
        :param arguments: arguments by name.
        :raises qorworker.exceptions.InvalidArguments: if there are too many values, or one argument is given twice.
        """
        if not values:
            return arguments
        names = self._sound().positional
        given = dict(zip(names, values, strict=False))
        errors = {name: [_("This argument was given twice.")] for name in given if name in arguments}
        if len(values) > len(names):
            text = _("%(given)s values were given by position; the job takes: %(names)s.")
            errors["__all__"] = [text % {"given": len(values), "names": ", ".join(names) or _("nothing")}]
        if errors:
            raise InvalidArguments(self.job_type, errors)
        return {**given, **arguments}

    def clean(self, values: Mapping[str, Any], files: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return *values* cleaned by the form.

        :param values: arguments by name, as code passes them.
        :param files: uploads by name, if they come separately.
        :raises qorworker.exceptions.InvalidArguments: with the errors of each field.
        """
        given, fields = {**values, **(files or {})}, self.fields
        keys, errors = self._row_keys(given)
        errors |= {name: [_("This argument does not exist.")] for name in given if name not in {**fields, **keys}}
        cleaned: dict[str, Any] = {}
        for name, field in fields.items():
            try:
                value = python_value(field, given[name] if name in given else self._default(name, field))
                cleaned[name] = value if self.given else field.clean(value)
            except ValidationError as error:
                errors[name] = error.messages
        if self.given and not errors:
            cleaned, errors = given_form.clean(self.form_class, cleaned)
        if errors:
            secrets = [*self.definition.secret_defaults.values(), *codec.given_secrets(self.definition.fields, given)]
            raise InvalidArguments(self.job_type, masked(errors, secrets))
        return {**cleaned, **keys}

    def dump_plain(self, many: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
        """Return what ``dump(clean(…))`` would for dicts of plain values, in less time; else None.

        None says nothing about errors, only that the form must be asked.
        """
        shortcut = self._sound().shortcut
        return None if shortcut is None else shortcut.stored(many)

    def clean_plain(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what ``clean`` would for plain values that are the same in JSON, in less time; else None."""
        shortcut = self._sound().shortcut
        return None if shortcut is None else shortcut.cleaned(values)

    def dump(
        self, cleaned: Mapping[str, Any], kept: Mapping[str, Any] | None = None, *, person: Any = None
    ) -> dict[str, Any]:
        """Return *cleaned* as JSON for ``Job.arguments``. Uploads are stored last, when nothing else can fail.

        :param cleaned: what ``clean`` has returned.
        :param kept: secrets and files that stay as they are stored; files that were opened for them are closed.
        :param person: the user who entered the other secrets; None if they come from code.
        :raises qorworker.exceptions.InvalidArguments: if values cannot be stored, or take too many bytes.
        """
        kept, by = kept or {}, entered.key_of(person)
        files.close_all({name: cleaned.get(name) for name in kept})
        stored: dict[str, Any] = {}
        errors: Errors = {}
        fields = self.fields
        for name, field in fields.items():
            try:
                stored[name] = kept[name] if name in kept else codec.dump(field, cleaned.get(name), by)
            except ValidationError as error:
                errors[name] = error.messages
        if (keys := cleaned.get(self.row_keys_parameter or "")) is not None:
            stored[str(self.row_keys_parameter)] = list(keys)
        if not errors and self.given:
            errors = given_form.unreadable(fields, stored)
        if errors := errors or too_large(stored):
            raise InvalidArguments(self.job_type, errors)
        return self._keep_uploads(stored)

    # Out.

    def load(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the handler's keyword arguments.

        :param stored: the arguments as the table stores them.
        :raises qorworker.exceptions.InvalidArguments: if they no longer fit.
        :raises qorworker.exceptions.UploadsUnavailable: if only the storage of uploads does not answer now.
        :raises qorworker.exceptions.SecretsUnavailable: if a secret cannot be decrypted.
        """
        if not isinstance(stored, Mapping):
            raise InvalidArguments(self.job_type, {"__all__": [_("The stored value is not a set of arguments.")]})
        shortcut = self._sound().shortcut
        if shortcut is not None and (loaded := shortcut.loaded(stored)) is not None:
            return loaded
        fields = self.fields
        keys, errors = self._row_keys(stored)
        errors |= {name: [_("This argument no longer exists.")] for name in stored if name not in {**fields, **keys}}
        reasons = {"unknown" for _name in errors}
        cleaned: dict[str, Any] = {}
        for name, field in fields.items():
            try:
                if name in stored:
                    cleaned[name] = codec.load(field, name, stored[name])
                else:
                    cleaned[name] = field.clean(python_value(field, self._default(name, field)))
            except ValidationError as error:
                errors[name] = error.messages
                reasons.add(getattr(error, "code", ""))
        if errors:
            kind = UploadsUnavailable if reasons == {files.UNAVAILABLE} else InvalidArguments
            problem = kind(self.job_type, masked(errors, [*self.definition.secret_defaults.values()]))
            problem.advice = files.advice() if files.GONE in reasons else ""
            raise problem
        return {**self.definition.deliver(cleaned), **keys}

    reuse = stored_again.reuse
    change = stored_again.change

    def identity(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return *stored* without what differs each time the same values are stored. It has secrets in clear text."""
        fields = self.fields
        return {
            name: codec.identity(fields[name], name, value) if name in fields else value
            for name, value in stored.items()
        }

    @sensitive_variables()  # an error is logged with its frames where a schedule makes the job
    def ask(self, rule: Callable[[dict[str, Any]], Any], stored: Mapping[str, Any], failure: str) -> Any:
        """Call *rule* with the arguments, as the handler gets them, and return its answer: a JSON value.

        :param stored: the arguments as the table stores them.
        :param failure: the message if *rule* fails; ``%s`` in it stands for the error.
        :raises qorworker.exceptions.InvalidArguments: if *rule* fails.
        :raises qorworker.exceptions.SecretsUnavailable: if a secret cannot be decrypted.
        """
        loaded = self.load(stored)
        try:
            value = rule(loaded)
            json.dumps(value, cls=DjangoJSONEncoder)
        except Exception as error:
            errors = {"__all__": [failure % f"{type(error).__name__}: {error}"]}
            secrets = [*self.definition.secret_defaults.values(), *self.secret_values(stored)]
            # What caused it would show them in the traceback.
            raise InvalidArguments(self.job_type, masked(errors, secrets)) from (None if secrets else error)
        finally:
            files.close_all(loaded)
        return value

    def drift(self, job: Any) -> Drift:
        """Return what has changed in the form since *job* was stored; falsy if it still fits."""
        if job.fingerprint == self.fingerprint:
            return Drift()
        return self.compare(self.fields, job.arguments)

    def compare(self, fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> Drift:
        """Return what of *stored* does not fit *fields*, which may offer fewer rows than those of the form."""
        return drift_of(fields, {name: value for name, value in stored.items() if name != self.row_keys_parameter})

    def row_keys_in(self, stored: Mapping[str, Any]) -> RowKeys | None:
        """Return the keys of the rows for which a job with these stored arguments is; None if it is for all rows."""
        return next(iter(self._row_keys(stored)[0].values()), None)

    def kept_row_keys(self, stored: Mapping[str, Any]) -> dict[str, RowKeys | None]:
        """Return the keys of rows in *stored* under the name of their parameter: no form has them.

        :raises qorworker.exceptions.InvalidArguments: if they are no keys.
        """
        keys, errors = self._row_keys(stored)
        if errors:
            raise InvalidArguments(self.job_type, errors)
        return keys

    # What users see.

    def display(self, stored: Mapping[str, Any]) -> list[Shown]:
        """Return each argument as users may see it: secrets as dots. This queries no database."""
        return shown.display(self.definition.fields, stored)

    def summary(self, stored: Mapping[str, Any], limit: int = 80, *, labels: bool = True) -> str:
        """Return the arguments in one line: secrets as dots. This queries no database.

        :param limit: how many characters the line may have.
        :param labels: whether arguments are shown by their labels; else by their names in code.
        """
        return shown.summary(self.definition.fields, stored, limit, labels)

    def initial(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the initial values of a form: without secrets, files, and values that no longer fit."""
        return shown.initial(self.fields, stored)

    def has_secrets(self, stored: Mapping[str, Any]) -> bool:
        """Return whether *stored* has a secret, which must be entered again for a new job."""
        return any(isinstance(value, dict) and codec.SECRET in value for value in stored.values())

    def has_secret_fields(self) -> bool:
        """Return whether the job type takes secrets."""
        return any(map(codec.is_secret, self.definition.fields.values()))

    def secret_values(self, stored: Mapping[str, Any]) -> list[str]:
        """Return the plain texts that must never be shown, or raise ``SecretsUnavailable``."""
        return codec.secret_texts(self.definition.fields, stored)

    def mask_of(self, arguments: str) -> Mask:
        """Return a mask for the secrets that a handler gets from stored *arguments*, given as JSON.

        A job that was stored before its type took a secret runs with the default of that.
        """
        stored, defaults = codec.mask_of(arguments), self.definition.secret_defaults
        return Mask.together([stored, Mask(codec.left_out(defaults, arguments))]) if defaults else stored

    # Steps.

    def _sound(self) -> Definition:
        definition = self.definition
        if definition.problems:
            problems = "; ".join(f"{name}: {problem}" for name, problem in definition.problems.items())
            raise JobTypeError(f"Job type {self.job_type!r} ({definition.place}): {problems}.")
        return definition

    def _row_keys(self, values: Mapping[str, Any]) -> tuple[dict[str, RowKeys | None], Errors]:
        """Return the keys of rows among *values*, under the name of their parameter, and the errors about them."""
        name = self.row_keys_parameter
        if name is None or name not in values:
            return {}, {}
        try:
            return {name: None if values[name] is None else row_keys.cleaned(values[name])}, {}
        except ValidationError as error:
            return {name: None}, {name: error.messages}

    def _default(self, name: str, field: forms.Field) -> Any:
        """Return the value of an argument that was left out, or raise ``ValidationError`` if it has none."""
        default = self.definition.defaults.get(name, MISSING)
        if default is not MISSING:
            return default
        if self.given:
            return given_form.initial(field)
        raise ValidationError(str(field.error_messages["required"]), code="required")

    def _keep_uploads(self, stored: dict[str, Any]) -> dict[str, Any]:
        uploads = {name: value for name, value in stored.items() if isinstance(value, File)}
        if not uploads:
            return stored
        if errors := files.problems(uploads):
            raise InvalidArguments(self.job_type, errors)
        return files.keep_all(stored, self.fields)
