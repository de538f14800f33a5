"""Selections of rows as arguments: in, out, and what is refused."""

import datetime as dt
import json
import sys
import tracemalloc
import uuid

import pytest
from django.apps import apps
from django.contrib.admin import SimpleListFilter, site
from django.contrib.admin.sites import all_sites
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import models
from django.test import override_settings
from django.utils import timezone

from qorworker import InvalidArguments, Selection
from qorworker.arguments import Arguments, selection_field, shown
from qorworker.arguments.selection import AdminList, keys_of
from qorworker.arguments.selection_field import Choice, SelectionField, read
from qorworker.exceptions import JobTypeError
from tests.testapp.models import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def shops():
    return [Shop.objects.create(name=name) for name in ("Berlin", "Essen", "Köln")]


def close_shops(shops: Selection[Shop], more: Selection[Shop] | None = None) -> None: ...


@pytest.fixture
def close():
    return Arguments("tests.close_shops", close_shops)


def way(arguments, **values):
    """What the handler gets."""
    stored = json.loads(json.dumps(arguments.dump(arguments.clean(values))))
    return arguments.load(stored)["shops"]


def test_a_selection_from_code_reaches_the_handler(close, shops):
    got = way(close, shops=Selection.of(Shop.objects.exclude(name="Essen")))
    assert got.is_frozen
    assert [shop.name for shop in got.queryset()] == ["Berlin", "Köln"]
    assert got.count() == 2


@pytest.mark.parametrize("given", [lambda rows: Shop.objects.all(), list, lambda rows: [row.pk for row in rows]])
def test_a_queryset_rows_and_keys_are_frozen(close, shops, given):
    got = way(close, shops=given(shops))
    Shop.objects.create(name="Ulm")
    assert got == Selection(Shop, [shop.pk for shop in shops])
    assert got.count() == 3


def test_text_of_a_form_or_a_command_line_is_a_list_of_keys(close, shops):
    arguments = close
    keys = [shop.pk for shop in shops]
    for text in (json.dumps({"pks": keys}), json.dumps(keys), f"{keys[0]}, {keys[1]} {keys[2]}"):
        assert arguments.clean({"shops": text})["shops"].pks == tuple(keys)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "Choose the rows in the list of shops."),
        (None, "Choose the rows"),
        (5, "a selection of shops"),
        ({"$selection": "testapp.shop", "pks": [1]}, "a selection of shops"),
        (["x"], "“x” is not a key of a shop."),
        ([True], "“True” is not a key"),
        ("-1", "does not exist"),
        ("-1,-2", "2 of the rows do not exist"),
        ('{"query": "q=a", "count": 1, "keep": "follow"}', "in the admin only"),
        ('{"pks": 5}', "not a selection of rows"),
        ('{"pks": [[5]]}', "not a selection of rows"),
        ("[" * 5000, "key"),
    ],
)
def test_what_is_no_selection_is_refused_with_a_sentence_at_its_field(close, given, sentence):
    with pytest.raises(InvalidArguments) as refused:
        close.clean({"shops": given})
    assert list(refused.value.errors) == ["shops"]
    assert sentence in refused.value.errors["shops"][0]


def test_a_selection_of_another_model_is_refused(close):
    with pytest.raises(InvalidArguments, match="a selection of shops"):
        close.clean({"shops": Selection(get_user_model(), [1])})


def test_more_rows_than_a_job_keeps_are_refused(close, monkeypatch, shops):
    monkeypatch.setattr(selection_field.SelectionField, "most", 2)
    with pytest.raises(InvalidArguments, match="A job can keep 2 rows one by one, and these are 3"):
        close.clean({"shops": Shop.objects.all()})


def test_rows_that_are_gone_are_left_out_and_if_all_are_gone_the_job_is_refused(close, shops):
    stored = close.dump(close.clean({"shops": shops}))
    shops[0].delete()
    assert close.load(stored)["shops"].count() == 2
    Shop.objects.all().delete()
    with pytest.raises(InvalidArguments, match="None of the 3 chosen rows of shops exists any more"):
        close.load(stored)


def test_an_empty_queryset_from_code_is_a_selection_of_no_rows(close, shops):
    assert way(close, shops=Shop.objects.none()).count() == 0


def test_one_may_be_left_out_if_its_type_allows_none(close, shops):
    assert close.clean({"shops": shops})["more"] is None


def test_a_selection_needs_a_model():
    for annotation in (Selection, Selection[int]):

        def bad(shops: annotation) -> None: ...

        arguments = Arguments("tests.bad", bad)
        assert "a selection needs its model" in arguments.problems()["shops"]
        with pytest.raises(JobTypeError, match="a selection needs its model"):
            arguments.clean({})


def test_pieces_are_frozen_and_have_each_row_once(shops):
    pieces = list(Selection(Shop, [shop.pk for shop in shops]).pieces(2))
    assert [piece.count() for piece in pieces] == [2, 1]
    assert [pk for piece in pieces for pk in piece.pks] == [shop.pk for shop in shops]
    with pytest.raises(ValueError, match="at least 1"):
        next(Selection(Shop, []).pieces(0))


class TestTheListOfAUser:
    @pytest.fixture
    def user(self):
        return get_user_model().objects.create_superuser("anna", password="x")

    def listed(self, user, query="q=e"):
        return Selection(Shop, admin_list=AdminList(query, "admin", str(user.pk)))

    def test_it_has_the_rows_that_match_when_they_are_read(self, shops, user):
        selection = self.listed(user)
        Shop.objects.create(name="Dresden")
        assert [shop.name for shop in selection.queryset()] == ["Berlin", "Essen", "Dresden"]
        assert not selection.is_frozen
        assert selection.queryset().update(name="x") == 3

    def test_it_is_stored_and_loaded(self, shops, user, close):
        got = way(close, shops=self.listed(user))
        assert got == self.listed(user)
        assert got.count() == 2

    def test_it_is_refused_once_its_user_may_not_see_it(self, shops, user):
        get_user_model().objects.update(is_superuser=False)
        with pytest.raises(ValidationError, match="may not see the list of shops"):
            self.listed(user).queryset()
        get_user_model().objects.all().delete()
        with pytest.raises(ValidationError, match="no longer exists"):
            self.listed(user).queryset()

    def test_it_is_refused_once_its_user_may_not_enter_the_admin(self, shops, user):
        get_user_model().objects.update(is_staff=False)
        with pytest.raises(ValidationError, match="may not see the list of shops"):
            self.listed(user).queryset()

    @pytest.mark.parametrize("query", ["name__in=Berlin,Essen", "name__gte=C&name__lt=F", "name__startswith=E&q=sen"])
    def test_lookups_in_the_address_are_those_of_the_list(self, shops, user, query, monkeypatch):
        monkeypatch.setattr(site.get_model_admin(Shop), "list_filter", ("name",))
        found = [shop.name for shop in self.listed(user, query).queryset()]
        assert found == {"name__in": ["Berlin", "Essen"]}.get(query[:8], ["Essen"])

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("is_staff__exact=1", ["anna"]),
            ("date_joined__gte=2020-01-01 00:00:00%2B00:00&date_joined__lt=2021-01-01 00:00:00%2B00:00", ["bob"]),
            ("groups__id__exact={group}", ["bob"]),
            ("groups__isnull=True", ["anna"]),
            ("q=bo+b", ["bob"]),
            ("o=-1&p=0&e=1", ["anna", "bob"]),
        ],
    )
    def test_filters_of_every_kind_are_followed(self, user, query, found):
        group = Group.objects.create(name="staff")
        joined = dt.datetime(2020, 6, 1, tzinfo=dt.UTC)
        get_user_model().objects.create(username="bob", date_joined=joined).groups.add(group)
        listed = AdminList(query.format(group=group.pk), "admin", str(user.pk))
        rows = Selection(get_user_model(), admin_list=listed).queryset()
        assert [row.username for row in rows] == found

    def test_a_filter_of_the_project_is_followed(self, shops, user, monkeypatch):
        class Length(SimpleListFilter):
            title, parameter_name = "length", "length"

            def lookups(self, request, model_admin):
                return [("short", "Short"), ("mine", "Mine")]

            def queryset(self, request, queryset):
                if self.value() == "mine":
                    return queryset.filter(name__startswith=request.session["initial"])
                return queryset.filter(name__in=["Essen", "Köln"]) if self.value() == "short" else queryset

        monkeypatch.setattr(site.get_model_admin(Shop), "list_filter", (Length,))
        assert [shop.name for shop in self.listed(user, "length=short&q=n").queryset()] == ["Essen", "Köln"]
        with pytest.raises(ValidationError, match="cannot be read with these filters: AttributeError"):
            self.listed(user, "length=mine").queryset()  # a job has no session

    def test_it_may_be_on_a_site_that_only_the_urls_of_the_project_make(self, shops, user):
        assert "own" not in {each.name for each in all_sites}
        try:
            with override_settings(ROOT_URLCONF="tests.own_site_urls"):
                rows = Selection(Shop, admin_list=AdminList("q=e", "own", str(user.pk))).queryset()
                assert [shop.name for shop in rows] == ["Berlin", "Essen"]
        finally:
            all_sites.discard(sys.modules.pop("tests.own_site_urls").site)

    def test_rows_that_a_filter_finds_twice_are_in_one_piece(self, shops, user, monkeypatch):
        twice = Shop.objects.filter(pk=shops[0].pk)
        double = twice.union(twice, all=True)
        monkeypatch.setattr(Selection, "queryset", lambda self: double)
        assert [piece.pks for piece in self.listed(user).pieces(1)] == [(shops[0].pk,)]

    def test_a_filter_or_a_site_without_meaning_is_refused(self, shops, user):
        with pytest.raises(ValidationError, match="cannot be read with these filters: IncorrectLookupParameters"):
            self.listed(user, "nonsense=1").queryset()
        with pytest.raises(ValidationError, match="no list of shops any more"):
            Selection(Shop, admin_list=AdminList("", "elsewhere", str(user.pk))).queryset()


class TestOtherKeys:
    """Models whose primary keys are no numbers, and rows of other databases."""

    def test_texts_are_keys_whatever_they_contain(self):
        keys = ["a,b", 'c"d', "ä ö", "'"]
        for key in keys:
            Session.objects.create(session_key=key, expire_date=timezone.now())
        field = SelectionField(model=Session)
        chosen = field.clean(Choice(tuple(keys)).text())
        assert {row.pk for row in chosen.queryset()} == set(keys)
        assert Selection.from_stored(Session, json.loads(json.dumps(chosen.stored()))) == chosen

    def test_a_text_that_no_database_takes_is_refused(self):
        with pytest.raises(ValidationError, match="is not a key of a session"):
            SelectionField(model=Session).clean('{"pks": ["a\\u0000b"]}')

    def test_a_uuid_survives_the_form_and_the_table(self):
        class Ticket(models.Model):
            id = models.UUIDField(primary_key=True, default=uuid.uuid4)

            class Meta:
                app_label = "testapp"
                managed = False

        try:
            key = uuid.uuid4()
            chosen = Selection(Ticket, read(Choice((key,)).text()).pks)
            assert chosen.pks == (key,)
            assert Selection.from_stored(Ticket, json.loads(json.dumps(chosen.stored()))) == chosen
            with pytest.raises(ValidationError, match="“x” is not a key of a ticket"):
                Selection(Ticket, ["x"])
        finally:
            del apps.all_models["testapp"]["ticket"]
            apps.clear_cache()

    def test_a_model_with_a_composite_key_is_refused(self):
        class Place(models.Model):
            pk = models.CompositePrimaryKey("row", "seat")
            row = models.IntegerField()
            seat = models.IntegerField()

            class Meta:
                app_label = "testapp"
                managed = False

        def seats(places: Selection[Place]) -> None: ...

        seats.__annotations__["places"] = Selection[Place]
        try:
            with pytest.raises(JobTypeError, match="Place has a composite primary key"):
                _ = Arguments("test.seats", seats).fields
        finally:
            del apps.all_models["testapp"]["place"]
            apps.clear_cache()

    @pytest.mark.parametrize(
        "choose",
        [Selection.of, SelectionField(model=Shop).from_python, lambda rows: keys_of(rows.order_by("pk"))],
    )
    def test_rows_of_another_database_are_refused(self, choose):
        with pytest.raises(
            ValidationError, match="shops are in the database “archive”, and a selection takes those in"
        ):
            choose(Shop.objects.using("archive"))

    def test_very_many_rows_take_little_memory(self, shops):
        size = 200_000
        chosen = Selection.of_keys(Shop, tuple(range(size)))
        tracemalloc.start()
        pieces = sum(len(piece.pks) for piece in chosen.pieces(500))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert pieces == size
        assert peak < size  # bytes: no second copy of them all


def test_it_is_shown_by_number_or_by_filter(close, shops):
    arguments = close
    stored = arguments.dump(arguments.clean({"shops": shops}))
    [one, _more] = arguments.display(stored)
    assert (one.text, one.kind, one.model) == ("3 shops", "selection", "testapp.shop")
    assert one.query == f"pk__in={','.join(str(shop.pk) for shop in shops)}"
    listed = {"shops": Selection(Shop, admin_list=AdminList("q=e", "admin", "1")).stored()}
    assert arguments.display(listed)[0].text == "The shops that match “q=e” when the job starts"
    assert shown.masked(arguments.fields, listed) == {"shops": {"model": "testapp.shop", "query": "q=e"}}


def test_a_selection_without_keys_or_with_a_text_is_a_mistake():
    with pytest.raises(TypeError, match="needs the primary keys"):
        Selection(Shop)
    with pytest.raises(TypeError, match="not one text"):
        Selection(Shop, "12")
