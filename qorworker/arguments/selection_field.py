"""The form field of a ``Selection``: it takes what the list of a model has chosen, and shows it. All processes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.arguments.plain import wrong_type
from qorworker.arguments.selection import AdminList, Selection, key_of, keys_of

MOST_KEYS = 20_000  # that one job may keep
AT_ONCE = 5_000  # keys in one query; databases limit that
NAMED = 5  # keys that an error names
FIRST = 10  # rows that a form shows
FREEZE, FOLLOW = "freeze", "follow"  # what to do with the filters of a list


@dataclass(frozen=True)
class Chooser:
    """The user who fills in a form, and what this user may choose.

    :param site: the name of the admin site that shows the form.
    :param user: the primary key of the user, as text.
    :param rows: the rows that the site shows to this user.
    :param address: that of the list of the model; empty if this user has none.
    """

    site: str
    user: str
    rows: QuerySet[Any]
    address: str


@dataclass(frozen=True)
class Choice:
    """What a form sends: keys, or the filters of a list with the number of rows that it had."""

    pks: tuple[Any, ...] | None = None
    query: str = ""
    count: int = 0
    keep: str = FREEZE

    def text(self) -> str:
        """Return it as a form sends it."""
        if self.pks is not None:
            return json.dumps({"pks": [str(pk) for pk in self.pks]})
        return json.dumps({"query": self.query, "count": self.count, "keep": self.keep})


def read(text: str) -> Choice:
    """Return the choice that *text* describes: as forms send it, as a JSON list of keys, or as keys with commas.

    :raises django.core.exceptions.ValidationError: if it describes none.
    """
    try:
        sent = json.loads(text)
    except (ValueError, RecursionError):
        sent = [each for each in re.split(r"[\s,]+", text) if each]
    if isinstance(sent, dict) and isinstance(query := sent.get("query"), str):
        count, keep = sent.get("count"), sent.get("keep", FREEZE)
        if isinstance(count, int) and keep in (FREEZE, FOLLOW):
            return Choice(None, query, count, keep)
    keys = sent.get("pks") if isinstance(sent, dict) else sent if isinstance(sent, list) else [sent]
    if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
        raise ValidationError(_("This is not a selection of rows."), code="invalid")
    return Choice(tuple(keys))


class SelectionInput(forms.Widget):
    """Shows what was chosen, and sends it along. The rows are chosen in the list of the model."""

    template_name = "admin/qorworker/widgets/selection.html"
    field: SelectionField

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        text = data.get(name)
        keep = data.get(f"{name}-keep")
        if keep is None or not isinstance(text, str):
            return text
        try:
            choice = read(text)
        except ValidationError:
            return text
        return Choice(choice.pks, choice.query, choice.count, keep).text() if choice.pks is None else text

    def id_for_label(self, id_: str) -> str:
        return ""

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"].update(self.field.shown(value))
        return context

    def format_value(self, value: Any) -> str:
        return text_of(value)


def text_of(value: Any) -> str:
    """Return a value of a form, sent or initial, as a form sends it."""
    if not isinstance(value, Selection):
        return str(value or "")
    if value.admin_list is None:
        return Choice(value.pks).text()
    return Choice(None, value.admin_list.query, 0, FOLLOW).text()


class SelectionField(forms.Field):
    """Rows of *model* that were chosen in its list. Each form knows its ``chooser``; code has none."""

    nullable = False
    chooser: Chooser | None = None
    most: int | None = MOST_KEYS  # rows; None: any number, which are divided among several jobs
    keeps_filters = True  # whether the filters of a list may be kept, in place of the rows that match now

    def __init__(self, *, model: type[Model], **options: Any) -> None:
        self.model = model
        super().__init__(**{"widget": SelectionInput, **options})
        self.widget.field = self

    def __deepcopy__(self, memo: Any) -> SelectionField:
        copied = super().__deepcopy__(memo)
        copied.widget.field = copied
        return copied

    def from_python(self, value: Any) -> Any:
        """Return what code passes as a selection: one, a QuerySet, or a list of rows or keys."""
        if isinstance(value, str):
            return value
        if isinstance(value, Selection):
            if value.model is not self.model:
                raise wrong_type(_("a selection of %s") % self.model._meta.verbose_name_plural, value)
            return value
        if isinstance(value, QuerySet):
            if not issubclass(value.model, self.model):
                raise wrong_type(_("a selection of %s") % self.model._meta.verbose_name_plural, value)
            return Selection.of_keys(self.model, keys_of(value))
        if isinstance(value, (list, tuple, set, frozenset)):
            return Selection(self.model, value)
        raise wrong_type(_("a selection of %s") % self.model._meta.verbose_name_plural, value)

    def clean(self, value: Any) -> Any:
        if isinstance(value, str) and value.strip():
            value = self._selected(read(value))
        if value in (None, ""):
            if self.required:
                raise ValidationError(
                    _("Choose the rows in the list of %s.") % self.model._meta.verbose_name_plural, code="required"
                )
            return None
        if value.pks is not None:
            self._check_number(len(value.pks))
        self.run_validators(value)
        return value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return text_of(initial) != text_of(data)

    def _selected(self, choice: Choice) -> Selection[Any]:
        if choice.pks is not None:
            chosen: Selection[Any] = Selection(self.model, choice.pks)
            self._check_number(len(chosen.pks or ()))
            self._check_rows(chosen.pks or ())
            return chosen
        followed = self._followed(choice.query)
        rows = followed.queryset()
        if choice.keep == FOLLOW and self.keeps_filters:
            return followed
        if (now := rows.count()) != choice.count:
            raise ValidationError(
                _("The list has %(now)s rows now; it had %(before)s. Check that, and submit the form again.")
                % {"now": number_format(now, force_grouping=True), "before": number_format(choice.count)}
            )
        if not now:
            raise ValidationError(_("The list has no rows with these filters."), code="required")
        self._check_number(now)
        return Selection.of_keys(self.model, keys_of(rows))

    def _followed(self, query: str) -> Selection[Any]:
        if self.chooser is None:
            raise ValidationError(_("Filters of a list can be chosen in the admin only. Give keys of rows."))
        return Selection(self.model, admin_list=AdminList(query, self.chooser.site, self.chooser.user))

    def _check_number(self, number: int) -> None:
        if self.most is not None and number > self.most:
            raise ValidationError(
                _("A job can keep %(most)s rows one by one, and these are %(number)s. Keep the filters instead.")
                % {
                    "most": number_format(self.most, force_grouping=True),
                    "number": number_format(number, force_grouping=True),
                },
                code="too_many",
            )

    def _check_rows(self, pks: Iterable[Any]) -> None:
        missing = list(self._missing(list(pks)))
        if missing:
            text = ngettext(
                "One of the rows does not exist, or you may not see it: %(keys)s.",
                "%(number)s of the rows do not exist, or you may not see them: %(keys)s.",
                len(missing),
            )
            keys = ", ".join(map(str, missing[:NAMED])) + (" …" if len(missing) > NAMED else "")
            raise ValidationError(text % {"number": len(missing), "keys": keys}, code="gone")

    def _missing(self, pks: list[Any]) -> Iterator[Any]:
        rows = self.chooser.rows if self.chooser is not None else self.model._default_manager.all()
        for start in range(0, len(pks), AT_ONCE):
            some = pks[start : start + AT_ONCE]
            found = set(rows.filter(pk__in=some).values_list("pk", flat=True))
            yield from (pk for pk in some if pk not in found)

    def check_exists(self, selection: Selection[Any] | None) -> None:
        """Raise ``ValidationError`` if none of the rows that were chosen one by one exists any more."""
        if selection is None or not selection.pks or selection.queryset().exists():
            return
        text = ngettext(
            "The chosen row of %(name)s no longer exists.",
            "None of the %(number)s chosen rows of %(name)s exists any more.",
            len(selection.pks),
        )
        shown = {"name": self.model._meta.verbose_name_plural, "number": number_format(len(selection.pks))}
        raise ValidationError(text % shown, code="gone")

    # For the widget.

    def shown(self, value: Any) -> dict[str, Any]:
        """Return what the widget shows of *value*, sent or initial, to the user of the form."""
        meta, chooser = self.model._meta, self.chooser
        shown: dict[str, Any] = {"plural": meta.verbose_name_plural, "address": chooser.address if chooser else ""}
        try:
            choice = read(text) if (text := text_of(value)) else Choice(())
            rows = self._rows_of(choice)
        except ValidationError as error:
            return {**shown, "problem": " ".join(error.messages)}
        if rows is None:
            return shown
        count = rows.count()
        if choice.pks is None:
            choice = Choice(None, choice.query, count, choice.keep)
            shown["list_address"] = f"{chooser.address}?{choice.query}" if chooser and chooser.address else ""
            shown["is_frozen"] = choice.keep == FREEZE
            shown["is_list"] = self.keeps_filters
        first = list(rows[:FIRST])
        name = meta.verbose_name if count == 1 else meta.verbose_name_plural
        title = f"{number_format(count, force_grouping=True)} {name}"
        return {**shown, "text": choice.text(), "title": title, "first": first, "more": count - len(first)}

    def _rows_of(self, choice: Choice) -> QuerySet[Any] | None:
        if choice.pks == () or self.chooser is None:
            return None
        if choice.pks is None:
            return self._followed(choice.query).queryset()
        pks = [key_of(self.model, pk) for pk in choice.pks[:MOST_KEYS]]
        return self.chooser.rows.filter(pk__in=pks).order_by("pk")
