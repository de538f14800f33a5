"""One argument between its cleaned value and the JSON in the table. All processes.

Secrets, files and rows are objects with one of three tags; what else they may be is decided by the field, never by
what the table says.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files import File
from django.db.models import Model, QuerySet
from django.forms.utils import pretty_name
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import secrets
from qorworker.arguments import fields, files
from qorworker.arguments.plain import encode
from qorworker.arguments.values import python_value
from qorworker.secrets import Secret

SECRET, MODEL, FILE = "$secret", "$model", files.TAG


def is_secret(field: forms.Field) -> bool:
    """Whether a field's value is one that nobody may see; a password input in a given form counts."""
    return isinstance(field, fields.SecretField) or isinstance(field.widget, forms.PasswordInput)


def is_private(field: forms.Field) -> bool:
    """Whether the value of a field never fills a form: secrets and files."""
    return isinstance(field, forms.FileField) or is_secret(field)


def plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, Secret) else value


def dump(field: forms.Field, value: Any) -> Any:
    """JSON for a cleaned value; a file stays a file until everything else is known to fit."""
    if value is None:
        return None
    if is_secret(field):
        text = plain(value)
        return {SECRET: secrets.encrypt(text) if text else ""}
    if isinstance(value, File):
        fields.check_upload(value)
        return value
    if isinstance(field, forms.FileField):
        return None  # a form gives False or "" for a file that was not chosen
    if isinstance(field, forms.JSONField):
        return encode(value)
    if isinstance(value, Model):
        return _reference(field, value)
    if isinstance(field, forms.ModelMultipleChoiceField) and isinstance(value, (QuerySet, list, tuple)):
        return [_reference(field, row) for row in value]
    return encode(value)


def _reference(field: forms.Field, row: Model) -> dict[str, Any]:
    key = getattr(field, "to_field_name", None) or "pk"
    label = str(row)[:200].replace("\x00", "").encode("utf-8", "replace").decode()
    return {MODEL: row._meta.label_lower, "pk": encode(row.serializable_value(key)), "label": label}


def load(field: forms.Field, name: str, stored: Any) -> Any:
    """The value for the handler, cleaned by its field. Raises ``ValidationError`` or ``SecretsUnavailable``."""
    if isinstance(field, forms.FileField) and stored is not None:
        return files.fetch(stored)
    if is_secret(field):
        text = _secret_text(field, name, stored)
        return None if text is None else Secret(text)
    value = python_value(field, readable(field, stored))
    try:
        return field.clean(value)
    except ValidationError as error:
        if error.code == "invalid_choice" or any(e.code == "invalid_choice" for e in error.error_list):
            _tell_gone(field, stored)
        raise


def readable(field: forms.Field, stored: Any) -> Any:
    """*stored* as ``python_value`` takes it: references as the keys they hold, anything else as it is."""
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
    """PostgreSQL gives 1e+300 back as a whole number."""
    try:
        return float(stored)
    except OverflowError:
        raise ValidationError(_("A float cannot hold this number."), code="invalid") from None


def _key(field: Any, stored: Any) -> Any:
    model = field.queryset.model
    known = {model._meta.label_lower, *(child._meta.label_lower for child in _descendants(model))}
    if not isinstance(stored, Mapping) or stored.get(MODEL) not in known or "pk" not in stored:
        raise ValidationError(
            _("This is not a reference to a %(model)s.") % {"model": model._meta.verbose_name}, code="wrong_type"
        )
    return stored["pk"]


def _descendants(model: type[Model]) -> list[type[Model]]:
    children = model.__subclasses__()
    return [*children, *(grandchild for child in children for grandchild in _descendants(child))]


def _tell_gone(field: forms.Field, stored: Any) -> None:
    """Say which row is gone, by the label it had when the job was stored."""
    references = [stored] if isinstance(stored, Mapping) else stored if isinstance(stored, list) else []
    if not isinstance(field, forms.ModelChoiceField) or field.queryset is None or not references:
        return
    key = field.to_field_name or "pk"
    wanted = {str(item["pk"]): item.get("label", "") for item in references}
    try:
        rows = field.queryset.filter(**{f"{key}__in": list(wanted)})
    except (TypeError, ValueError):
        return  # the model has keys of another kind since then
    present = {str(found) for found in rows.values_list(key, flat=True)}
    missing = [{"label": label, "pk": pk} for pk, label in wanted.items() if pk not in present]
    gone = [_("“%(label)s” (#%(pk)s)") % row for row in missing]
    if gone:
        told = ngettext("%(rows)s no longer exists.", "%(rows)s no longer exist.", len(gone))
        raise ValidationError(told % {"rows": ", ".join(gone[:5])}, code="gone") from None


def _secret_text(field: forms.Field, name: str, stored: Any) -> str | None:
    if stored is None:
        return None
    if not isinstance(stored, Mapping) or not isinstance(stored.get(SECRET), str):
        raise ValidationError(_("This is not a stored secret."), code="wrong_type")
    return secrets.decrypt(stored[SECRET], str(field.label or pretty_name(name))) if stored[SECRET] else ""


def secret_texts(known: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> list[str]:
    """The plain text of every secret in *stored*, whatever its field has become."""
    found = []
    for name, value in stored.items():
        if isinstance(value, Mapping) and set(value) == {SECRET} and value[SECRET]:
            field = known.get(name)
            if field is None or is_secret(field):
                label = str(field.label or pretty_name(name)) if field else pretty_name(name)
                found.append(secrets.decrypt(str(value[SECRET]), label))
    return found


def reuse(field: forms.Field, stored: Any) -> Any:
    """A stored value as code would pass it. Raises ``ValidationError`` for what cannot be used again."""
    if is_secret(field):
        if isinstance(stored, Mapping) and stored.get(SECRET):
            raise ValidationError(_("Secrets are not copied. Enter it again."), code="secret")
        return "" if stored is not None else None
    if isinstance(field, forms.FileField) and stored is not None:
        return files.fetch(stored)
    return readable(field, stored)


def identity(field: forms.Field, name: str, stored: Any) -> Any:
    """The same for two stored values that mean the same: the text of a secret, the content of a file, a row's key."""
    if is_secret(field):
        return _secret_text(field, name, stored)
    if isinstance(field, forms.FileField) and isinstance(stored, Mapping):
        return [stored.get("name"), stored.get("sha256")]
    if isinstance(field, forms.DecimalField) and isinstance(stored, str):
        return str(Decimal(stored).normalize())
    return readable(field, stored)


def kind_of(field: forms.Field) -> list[Any]:
    """What makes a field another field: its class, whether it may be empty, whose rows it takes."""
    kind: list[Any] = [type(field).__qualname__, field.required, getattr(field, "nullable", None)]
    if isinstance(field, forms.ModelChoiceField) and field.queryset is not None:
        kind.append(field.queryset.model._meta.label_lower)
    if isinstance(field, fields.ListField):
        kind += kind_of(field.item)
    return kind
