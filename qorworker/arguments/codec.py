"""The way of one argument from its cleaned value to JSON and back. All processes.

Secrets, files, rows and selections are stored as objects with one of four tags. The field alone decides what a value
may be, never what the table has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files import File
from django.db.models import Model, QuerySet
from django.forms.utils import pretty_name
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.arguments import fields, files, secrets, selection
from qorworker.arguments.plain import encode
from qorworker.arguments.secrets import Secret
from qorworker.arguments.selection import Selection
from qorworker.arguments.selection_field import SelectionField
from qorworker.arguments.values import is_password, python_value
from qorworker.exceptions import SecretsUnavailable
from qorworker.text.masking import NOTHING, Mask

SECRET, MODEL, FILE, SELECTION = "$secret", "$model", files.TAG, selection.TAG
ERASED = {SECRET: None}  # what remains of a secret when its job has ended
ENTERED_BY = "by"  # beside a secret: the key of the user who entered it, unless it came from code


def is_secret(field: forms.Field) -> bool:
    """Return whether the value of a field, or a part of it, must never be shown. A password input in a given form
    counts.
    """
    if isinstance(field, fields.SecretField) or is_password(field.widget):
        return True
    if isinstance(field, fields.ListField):
        return is_secret(field.item)
    return isinstance(field, forms.MultiValueField) and any(map(is_secret, field.fields))


def secret_problem(field: forms.Field) -> str:
    """Return why *field* cannot take a secret; empty if it can, or takes none. Only text can be encrypted."""
    is_text = isinstance(field, forms.CharField) and not isinstance(field, (forms.UUIDField, forms.JSONField))
    return "" if is_text or not is_secret(field) else "a secret is always a text: a password input needs a CharField"


def is_private(field: forms.Field) -> bool:
    """Return whether the value of a field never fills a form: secrets and files."""
    return isinstance(field, forms.FileField) or is_secret(field)


def plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, Secret) else value


def dump(field: forms.Field, value: Any, entered_by: str = "") -> Any:
    """Return a cleaned value as JSON. A file stays a file until all other arguments are known to fit.

    :param entered_by: the key of the user who entered the value, if it is a secret.
    """
    if value is None:
        return None
    if is_secret(field):
        return _secret(plain(value), entered_by)
    if isinstance(value, File):
        fields.check_upload(value)
        return value
    if isinstance(field, forms.FileField):
        return None  # a form gives False or "" for a file that was not chosen
    if isinstance(field, forms.JSONField):
        return encode(value)
    if isinstance(value, Selection):
        return value.stored()
    if isinstance(value, Model):
        return _reference(field, value)
    if isinstance(field, forms.ModelMultipleChoiceField) and isinstance(value, (QuerySet, list, tuple)):
        return [_reference(field, row) for row in value]
    return encode(value)


def _secret(text: str, entered_by: str) -> dict[str, str]:
    if not text:
        return {SECRET: ""}
    stored = {SECRET: secrets.encrypt(text)}
    return {**stored, ENTERED_BY: entered_by} if entered_by else stored


def _reference(field: forms.Field, row: Model) -> dict[str, Any]:
    key = getattr(field, "to_field_name", None) or "pk"
    label = str(row)[:200].replace("\x00", "").encode("utf-8", "replace").decode()
    return {MODEL: row._meta.label_lower, "pk": encode(row.serializable_value(key)), "label": label}


def load(field: forms.Field, name: str, stored: Any) -> Any:
    """Return the value for the handler, cleaned by its field.

    :param name: the name of the argument, for errors.
    :raises django.core.exceptions.ValidationError: if the value no longer fits.
    :raises qorworker.exceptions.SecretsUnavailable: if it is a secret that cannot be decrypted.
    """
    if isinstance(field, forms.FileField) and stored is not None:
        return files.fetch(stored)
    if is_secret(field):
        text = _secret_text(field, name, stored)
        return None if text is None else Secret(text)
    value = python_value(field, readable(field, stored))
    try:
        cleaned = field.clean(value)
        if isinstance(field, SelectionField):
            field.check_exists(cleaned)
        return cleaned
    except ValidationError as error:
        if any(each.code == "invalid_choice" for each in error.error_list):
            _tell_gone(field, stored)
        raise


def readable(field: forms.Field, stored: Any) -> Any:
    """Return *stored* as ``python_value`` takes it: the key of a reference, and any other value as it is."""
    if isinstance(field, SelectionField) and isinstance(stored, Mapping):
        return Selection.from_stored(field.model, stored)
    if isinstance(field, forms.ModelMultipleChoiceField) and isinstance(stored, list):
        return [_key(field, item) for item in stored]
    if isinstance(field, forms.ModelChoiceField) and stored is not None:
        return _key(field, stored)
    if isinstance(field, fields.ListField) and isinstance(stored, list):
        return [readable(field.item, item) for item in stored]
    if isinstance(field, forms.FloatField) and type(stored) is int:
        return _float(stored)
    return stored


def _float(stored: int) -> float:
    """Return a float that PostgreSQL returned as a whole number, as it does for 1e+300."""
    try:
        return float(stored)
    except OverflowError:
        raise ValidationError(_("A float cannot hold this number."), code="invalid") from None


def _key(field: Any, stored: Any) -> Any:
    model = field.queryset.model
    labels = {model._meta.label_lower, *(child._meta.label_lower for child in _descendants(model))}
    if not isinstance(stored, Mapping) or stored.get(MODEL) not in labels or "pk" not in stored:
        raise ValidationError(
            _("This is not a reference to a %(model)s.") % {"model": model._meta.verbose_name}, code="wrong_type"
        )
    return stored["pk"]


def _descendants(model: type[Model]) -> list[type[Model]]:
    children = model.__subclasses__()
    return [*children, *(grandchild for child in children for grandchild in _descendants(child))]


def _tell_gone(field: forms.Field, stored: Any) -> None:
    """Raise an error that names the rows that are gone, by the labels they had when the job was stored."""
    references = [stored] if isinstance(stored, Mapping) else stored if isinstance(stored, list) else []
    if not isinstance(field, forms.ModelChoiceField) or field.queryset is None or not references:
        return
    key = field.to_field_name or "pk"
    labels = {str(item["pk"]): item.get("label", "") for item in references}
    try:
        rows = field.queryset.filter(**{f"{key}__in": list(labels)})
    except (TypeError, ValueError):
        return  # the keys of the model have another type now
    present = {str(key_value) for key_value in rows.values_list(key, flat=True)}
    missing = [{"label": label, "pk": pk} for pk, label in labels.items() if pk not in present]
    gone = [_("“%(label)s” (#%(pk)s)") % row for row in missing]
    if gone:
        text = ngettext("%(rows)s no longer exists.", "%(rows)s no longer exist.", len(gone))
        raise ValidationError(text % {"rows": ", ".join(gone[:5])}, code="gone") from None


def _secret_text(field: forms.Field, name: str, stored: Any) -> str | None:
    if stored is None:
        return None
    if stored == ERASED:
        raise ValidationError(erased_text(), code="erased")
    if not isinstance(stored, Mapping) or not isinstance(stored.get(SECRET), str):
        raise ValidationError(_("This is not a stored secret."), code="wrong_type")
    return secrets.decrypt(stored[SECRET], str(field.label or pretty_name(name))) if stored[SECRET] else ""


def given_secrets(form_fields: Mapping[str, forms.Field], given: Mapping[str, Any]) -> list[str]:
    """Return the plain texts of the secrets among values as code passes them."""
    texts = [plain(given[name]) for name, field in form_fields.items() if name in given and is_secret(field)]
    return [str(text) for text in texts if text]


def secret_texts(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> list[str]:
    """Return the plain text of every secret in *stored*, whatever field its argument has now."""
    texts = []
    for name in secret_names(form_fields, stored):
        field, token = form_fields.get(name), stored[name][SECRET]
        if token:
            label = str(field.label or pretty_name(name)) if field else pretty_name(name)
            texts.append(secrets.decrypt(str(token), label))
    return texts


def secret_names(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> list[str]:
    """Return the names of the secrets in *stored*. Arguments of other kinds may have the same shape."""
    return [name for name in _tagged(stored) if (field := form_fields.get(name)) is None or is_secret(field)]


def _tagged(stored: Mapping[str, Any]) -> list[str]:
    return [name for name, value in stored.items() if _looks_secret(value)]


def _looks_secret(value: Any) -> bool:
    return isinstance(value, Mapping) and SECRET in value and set(value) <= {SECRET, ENTERED_BY}


def is_encrypted(value: Any) -> bool:
    """Return whether *value* was stored as a secret, and is not JSON of the same shape that a user typed."""
    if not _looks_secret(value) or not isinstance(value[SECRET], str) or not value[SECRET]:
        return False
    try:
        secrets.decrypt(value[SECRET])
    except SecretsUnavailable:
        return False
    return True


def without_secrets(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return *stored* as it is kept when its job has ended. An empty text is not a secret."""
    names = _erasable_names(form_fields, stored)
    return {
        name: ERASED if (name in names and value[SECRET]) or is_encrypted(value) else value
        for name, value in stored.items()
    }


def erased_names(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> list[str]:
    """Return the names of the secrets that were erased when the job ended."""
    return [name for name in _erasable_names(form_fields, stored) if stored[name] == ERASED]


def _erasable_names(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> list[str]:
    """Return the names of secrets, even if the field has another type now. Only typed JSON may have the same shape."""
    return [
        name
        for name in _tagged(stored)
        if (field := form_fields.get(name)) is None or is_secret(field) or not isinstance(field, forms.JSONField)
    ]


def erased_text() -> str:
    return _("This secret was erased when the job ended. Run the job again and enter it anew.")


def mask_of(arguments: str) -> Mask:
    """Return a mask for the secrets in stored arguments, given as JSON. Unreadable secrets cannot be shown anyway."""
    if not may_hold_secrets(arguments):
        return NOTHING
    texts = []
    for value in _stored_in(arguments).values():
        if isinstance(value, Mapping) and isinstance(value.get(SECRET), str) and value[SECRET]:
            with suppress(SecretsUnavailable):
                texts.append(secrets.decrypt(value[SECRET]))
    return Mask(texts)


def left_out(defaults: Mapping[str, str], arguments: str) -> list[str]:
    """Return those of *defaults*, texts by argument, in whose place stored arguments, given as JSON, have nothing."""
    stored = _stored_in(arguments)
    return [text for name, text in defaults.items() if name not in stored]


def _stored_in(arguments: str) -> dict[str, Any]:
    try:
        stored = json.loads(arguments)
    except (ValueError, RecursionError):  # the job is refused for that when it starts
        return {}
    return stored if isinstance(stored, dict) else {}


def may_hold_secrets(arguments: str) -> bool:
    """Return whether stored arguments, given as JSON, may have a secret. This costs next to nothing."""
    return f'"{SECRET}"' in arguments


def reuse(field: forms.Field, stored: Any) -> Any:
    """Return a stored value as code would pass it.

    :raises django.core.exceptions.ValidationError: if it cannot be used again.
    """
    if is_secret(field) or is_encrypted(stored):
        if isinstance(stored, Mapping) and stored.get(SECRET) != "":
            raise ValidationError(_("Secrets are not copied. Enter it again."), code="secret")
        return "" if stored is not None else None
    if isinstance(field, forms.FileField) and stored is not None:
        return files.fetch(stored)
    return readable(field, stored)


def identity(field: forms.Field, name: str, stored: Any) -> Any:
    """Return the same for two stored values that mean the same: a secret's text, a file's content, a row's key."""
    if is_secret(field):
        return _secret_text(field, name, stored)
    if isinstance(field, forms.FileField) and isinstance(stored, Mapping):
        return [stored.get("name"), stored.get("sha256")]
    if isinstance(field, SelectionField):
        return stored
    if isinstance(field, forms.DecimalField) and isinstance(stored, str):
        return str(Decimal(stored).normalize())
    return readable(field, stored)


def kind_of(field: forms.Field) -> list[Any]:
    """Return what distinguishes a field from others: its class, whether it may be empty, the model of its rows."""
    kind: list[Any] = [type(field).__qualname__, field.required, getattr(field, "nullable", None)]
    if isinstance(field, forms.ModelChoiceField) and field.queryset is not None:
        kind.append(field.queryset.model._meta.label_lower)
    if isinstance(field, SelectionField):
        kind.append(field.model._meta.label_lower)
    if isinstance(field, fields.ListField):
        kind += kind_of(field.item)
    return kind
