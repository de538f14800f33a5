"""Rows of a model as one argument: chosen ones, or all those that a list of the admin shows. All processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from django.contrib.admin.options import ModelAdmin
from django.contrib.admin.sites import all_sites
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from qorworker.arguments.plain import encode

TAG = "$selection"  # of the stored form
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class AdminList:
    """A list of the admin with its filters, as one user sees it.

    :param query: the filters and the search, as they stand in the address of the list.
    :param site: the name of the admin site.
    :param user: the primary key of the user, as text.
    """

    query: str
    site: str
    user: str

    def rows(self, model: type[Row]) -> QuerySet[Row]:
        """Return the rows that the list shows to its user now, ordered by primary key.

        :raises django.core.exceptions.ValidationError: if the user or the list is gone, or the user may not see it.
        """
        gone = ValidationError(_("The admin has no list of %s any more.") % model._meta.verbose_name_plural)
        try:  # this imports the URLs of the project, where sites of its own may be made
            path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", current_app=self.site)
        except NoReverseMatch:
            raise gone from None
        site = next((each for each in all_sites if each.name == self.site), None)
        if site is None or not site.is_registered(model):
            raise gone
        request = self._request(path)
        if not site.has_permission(request):  # it may be taken away from people who keep the rights to the model
            raise _hidden(model._meta.verbose_name_plural)
        return rows_of_list(site.get_model_admin(model), request)

    def _request(self, path: str) -> HttpRequest:
        users = get_user_model()
        try:
            user = users._default_manager.get(pk=self.user)
        except (users.DoesNotExist, ValueError, ValidationError):
            raise ValidationError(_("The user who chose the rows no longer exists.")) from None
        request = HttpRequest()
        request.method, request.user, request.GET = "GET", user, QueryDict(self.query)
        request.path = request.path_info = path
        request.META.update(SERVER_NAME="localhost", SERVER_PORT="80", QUERY_STRING=self.query)
        return request


def rows_of_list(model_admin: ModelAdmin[Any], request: HttpRequest) -> QuerySet[Any]:
    """Return all rows that the list of *model_admin* shows for *request*, ordered by primary key.

    :raises django.core.exceptions.ValidationError: if the user may not see it, or its filters have no meaning.
    """
    name = model_admin.opts.verbose_name_plural
    if not model_admin.has_view_or_change_permission(request):
        raise _hidden(name)
    try:
        rows: QuerySet[Any] = model_admin.get_changelist_instance(request).queryset
        return rows.order_by("pk")
    except Exception as error:  # filters are any code, and Django has an exception for each kind of mistake
        text = _("The list of %(name)s cannot be read with these filters: %(error)s.")
        raise ValidationError(text % {"name": name, "error": type(error).__name__}) from error


def _hidden(name: Any) -> ValidationError:
    return ValidationError(_("The user who chose the rows may not see the list of %s.") % name)


def keys_of(rows: QuerySet[Any]) -> tuple[Any, ...]:
    """Return the primary keys of *rows*, each once.

    :raises django.core.exceptions.ValidationError: if they are in another database than a selection reads.
    """
    check_database(rows)
    return tuple(dict.fromkeys(rows.values_list("pk", flat=True)))


def check_database(rows: QuerySet[Any]) -> None:
    """Raise ``ValidationError`` if *rows* are in another database than a selection reads: it keeps only their keys."""
    model = rows.model
    used = getattr(rows, "_db", None)  # what ``using()`` has chosen
    if used is not None and used not in (own := model._default_manager.db, router.db_for_write(model)):
        text = _("These %(name)s are in the database “%(used)s”, and a selection takes those in “%(own)s”.")
        raise ValidationError(text % {"name": model._meta.verbose_name_plural, "used": used, "own": own})


class Selection(Generic[Row]):
    """Rows of a model that somebody chose: some of them, or all that match the filters of a list in the admin.

    A handler with a parameter of this type can be started from the list of its model, with ``run_on_selection``::

        @job
        def relabel(context: JobContext, products: Selection[Product], label: str) -> None:
            for product in context.iterate(products.queryset()):
                ...

    :param model: the model of the rows.
    :param pks: their primary keys. Rows that do not exist, or no longer exist, are not in ``queryset()``.
    """

    __slots__ = ("admin_list", "model", "pks")

    def __init__(
        self, model: type[Row], pks: Iterable[Any] | None = None, *, admin_list: AdminList | None = None
    ) -> None:
        if (pks is None) is (admin_list is None):
            raise TypeError("Selection() needs the primary keys of rows.")
        if isinstance(pks, str):
            raise TypeError("Selection() needs a list of primary keys, not one text.")
        self.model = model
        self.pks = None if pks is None else tuple(dict.fromkeys(key_of(model, pk) for pk in pks))
        self.admin_list = admin_list

    @classmethod
    def of(cls, rows: QuerySet[Row]) -> Selection[Row]:
        """Return the rows that a QuerySet has now, frozen.

        :param rows: they are looked up at once; only their primary keys are kept.
        :raises django.core.exceptions.ValidationError: if they are in another database than ``queryset()`` reads.
        """
        return cls.of_keys(rows.model, keys_of(rows))

    @classmethod
    def of_keys(cls, model: type[Any], pks: tuple[Any, ...]) -> Selection[Any]:
        """Return the rows with these primary keys, which the database has returned: they are not checked again."""
        selection: Selection[Any] = cls(model, ())
        selection.pks = pks
        return selection

    @classmethod
    def from_stored(cls, model: type[Row], stored: Mapping[str, Any]) -> Selection[Row]:
        """Return the selection that ``stored()`` has described.

        :raises django.core.exceptions.ValidationError: if it describes none, or one of another model.
        """
        try:
            if stored[TAG] != model._meta.label_lower:
                raise ValueError
            if "pks" in stored:
                return cls(model, stored["pks"])
            return cls(model, admin_list=AdminList(**stored["list"]))
        except (KeyError, TypeError, ValueError):
            text = _("This is not a selection of %s.") % model._meta.verbose_name_plural
            raise ValidationError(text, code="wrong_type") from None

    def stored(self) -> dict[str, Any]:
        """Return what the table keeps, as JSON."""
        if self.admin_list is not None:
            return {TAG: self.model._meta.label_lower, "list": asdict(self.admin_list)}
        return {TAG: self.model._meta.label_lower, "pks": [encode(pk) for pk in self.pks or ()]}

    @property
    def is_frozen(self) -> bool:
        """Whether the rows were chosen one by one. Else they are those that match the filters when they are read."""
        return self.pks is not None

    def queryset(self) -> QuerySet[Row]:
        """Return the rows that exist now, ordered by primary key.

        :raises django.core.exceptions.ValidationError: if they are those of a list that can no longer be read, or that
            its user may no longer see.
        """
        if self.admin_list is not None:
            return self.admin_list.rows(self.model)
        return self.model._default_manager.filter(pk__in=self.pks or ()).order_by("pk")

    def count(self) -> int:
        """Return how many of the rows exist now. This queries the database."""
        return self.queryset().count()

    def pieces(self, size: int) -> Iterator[Selection[Row]]:
        """Return the rows as frozen selections of at most *size* rows each; those of a list as it is now.

        :param size: at least 1.
        """
        if size < 1:
            raise ValueError(f"pieces(): the size must be at least 1, not {size}.")
        keys = self.pks if self.pks is not None else keys_of(self.queryset())
        for start in range(0, len(keys), size):
            yield Selection.of_keys(self.model, keys[start : start + size])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selection):
            return NotImplemented
        return (self.model, self.pks, self.admin_list) == (other.model, other.pks, other.admin_list)

    def __hash__(self) -> int:
        return hash((self.model, self.pks, self.admin_list))

    def __repr__(self) -> str:
        what = f"{len(self.pks)} frozen" if self.pks is not None else "filter"
        return f"<Selection of {self.model._meta.label}: {what}>"


def key_of(model: type[Model], value: Any) -> Any:
    """Return *value* as a primary key of *model*.

    :raises django.core.exceptions.ValidationError: if it cannot be one.
    """
    if isinstance(value, Model):
        if not isinstance(value, model):
            text = _("%(row)s is not a %(model)s.")
            raise ValidationError(text % {"row": repr(value)[:100], "model": model._meta.verbose_name})
        value = value.pk
    key = model._meta.pk
    try:
        if value is None or value == "" or isinstance(value, bool) or (isinstance(value, str) and "\0" in value):
            raise ValidationError("")
        cleaned = key.to_python(value)
        key.run_validators(cleaned)
        return cleaned
    except (ValidationError, TypeError, ValueError, OverflowError):
        text = _("“%(value)s” is not a key of a %(model)s.")
        shown = {"value": str(value)[:100], "model": model._meta.verbose_name}
        raise ValidationError(text % shown, code="invalid") from None
