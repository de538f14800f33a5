import csv
import io
import json
from itertools import islice

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import F, Window
from django.db.models.functions import RowNumber
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from qorworker.execution.sources import length_behind, source_of
from qorworker.models import Attempt, Job
from tests.models.rows import make_job
from tests.testapp.models import Shop


def items_after(source, cursor=None):
    return [item for _, item in source.after(cursor)]


def cursors(source, cursor=None):
    """As they are stored."""
    return [json.loads(json.dumps(cursor)) for cursor, _ in source.after(cursor)]


def assert_goes_on_behind_each(make, chunk=2):
    everything = items_after(source_of(make(), chunk))
    for number, cursor in enumerate(cursors(source_of(make(), chunk)), 1):
        assert items_after(source_of(make(), chunk), cursor) == everything[number:]


class TestASequence:
    @given(st.lists(st.integers()))
    def test_goes_on_behind_each_of_its_items(self, items):
        assert_goes_on_behind_each(lambda: items)
        assert_goes_on_behind_each(lambda: tuple(items))
        assert length_behind(source_of(items, 1), None, 0) == len(items)

    def test_of_another_length_is_refused(self):
        cursor = cursors(source_of(["abc"], 1))[0]
        with pytest.raises(ValueError, match="has 2 items now, and had 1 when the loop began"):
            items_after(source_of([1, 2], 1), cursor)

    def test_takes_no_memory_of_its_own(self):
        source = source_of(range(10**12), 1)
        assert next(iter(source.after([10**12 - 1, 10**12]))) == ([10**12, 10**12], 10**12 - 1)


class TestAFile:
    TEXT = "a,b\n1,2\n3,4\n"

    @pytest.mark.parametrize(
        "make",
        [
            lambda text: io.StringIO(text),
            lambda text: io.BytesIO(text.encode()),
            lambda text: ContentFile(text.encode()),
            lambda text: csv.reader(io.StringIO(text)),
            lambda text: csv.DictReader(io.StringIO(text)),
        ],
    )
    def test_goes_on_behind_each_of_its_lines_or_rows(self, make):
        assert_goes_on_behind_each(lambda: make(self.TEXT))

    def test_that_is_shorter_now_is_refused(self):
        with pytest.raises(ValueError, match="The file has 1 lines or rows now, and the loop has done 3 of them"):
            items_after(source_of(io.StringIO("a\n"), 1), 3)

    def test_has_no_known_length(self):
        assert length_behind(source_of(io.StringIO("a\n"), 1), None, 0) is None


@pytest.mark.parametrize("items", [{1, 2}, {"a": 1}, "text", b"bytes", (n for n in range(3)), iter([1]), 7, None])
def test_what_has_no_order_or_cannot_be_gone_over_again_is_refused(items):
    with pytest.raises(TypeError, match=f"in the middle of a {type(items).__name__}. It takes"):
        source_of(items, 1)


def test_an_object_with_after_is_a_source_as_it_is():
    class Pages:
        def after(self, cursor):
            return []

    pages = Pages()
    assert source_of(pages, 1) is pages


@pytest.mark.django_db
class TestAQuerySet:
    @pytest.fixture
    def shops(self):
        Shop.objects.bulk_create(Shop(name=name) for name in "cabbd")

    @pytest.mark.parametrize(
        "order", [(), ("pk",), ("-pk",), ("id",), ("name", "pk"), ("-name", "pk"), ("name", "-id")]
    )
    @pytest.mark.parametrize("chunk", [1, 2, 5, 500])
    def test_goes_on_behind_each_of_its_rows(self, shops, order, chunk):
        rows = Shop.objects.order_by(*order)
        assert items_after(source_of(rows, chunk)) == list(rows if order else rows.order_by("pk"))
        assert_goes_on_behind_each(lambda: rows, chunk)

    @pytest.mark.parametrize("rows", [Shop.objects.order_by("name", "-pk"), Shop.objects.all()])
    def test_that_is_reversed_goes_on_behind_each_of_its_rows(self, shops, rows):
        expected = list(rows.order_by(*rows.query.order_by or ["pk"]).reverse())
        assert [shop for _, shop in islice(source_of(rows.reverse(), 2).after(None), 9)] == expected
        assert_goes_on_behind_each(rows.reverse)

    @pytest.mark.parametrize("chunk", [1, 2, 3, 500])
    def test_in_which_a_join_repeats_rows_fails_before_it_leaves_one_out(self, chunk):
        groups = [Group.objects.create(name=name) for name in "abc"]
        for content_type in ContentType.objects.all()[:2]:
            Permission.objects.create(content_type=content_type, codename="x").group_set.set(groups)
        rows = Permission.objects.filter(group__in=groups).annotate(in_group=F("group"))
        with pytest.raises(ValueError, match=r"two rows with the same id .* use distinct"):
            items_after(source_of(rows, chunk))
        assert len(items_after(source_of(Permission.objects.filter(group__in=groups).distinct(), chunk))) == 2

    @pytest.mark.parametrize(
        "rows", [Job.objects.only("name"), Job.objects.defer("enqueued_at"), Job.objects.only("pk")]
    )
    def test_loads_what_it_is_ordered_by_with_the_rows(self, rows, django_assert_num_queries):
        make_job()
        with django_assert_num_queries(1):
            items_after(source_of(rows.order_by("enqueued_at", "pk"), 5))

    @pytest.mark.parametrize(("order", "operator"), [("model", ">="), ("-model", "<=")])
    def test_reads_an_index_on_several_fields_from_the_place_on(self, order, operator):
        source = source_of(ContentType.objects.order_by(order, "app_label"), 1)
        with CaptureQueriesContext(connection) as queries:
            list(islice(source.after(["job", "qorworker"]), 1))
        column = connection.ops.quote_name("django_content_type") + "." + connection.ops.quote_name("model")
        assert f"{column} {operator} " in queries[0]["sql"]

    def test_loads_one_chunk_at_a_time(self, shops, django_assert_num_queries):
        rows = source_of(Shop.objects, 2).after(None)
        with django_assert_num_queries(1):
            list(islice(rows, 2))
        with django_assert_num_queries(1):
            next(rows)

    def test_finds_rows_that_come_in_behind_and_misses_none_that_others_delete(self, shops):
        seen = []
        for _, shop in source_of(Shop.objects, 2).after(None):
            seen.append(shop.name)
            if len(seen) == 2:
                Shop.objects.filter(name="c").delete()
                Shop.objects.create(name="new")
            shop.delete()
        assert seen == [*"cabbd", "new"]

    def test_counts_what_is_left(self, shops):
        source = source_of(Shop.objects, 2)
        third = cursors(source)[2]
        assert length_behind(source, third, 3) == 5
        assert length_behind(source, None, 0) == 5

    def test_does_not_go_by_the_order_in_meta(self):
        assert Permission._meta.ordering
        assert [field.name for field, _ in source_of(Permission.objects, 1).fields] == ["id"]

    @pytest.mark.parametrize(
        ("rows", "names"),
        [
            (lambda: Group.objects.order_by("-name", "pk"), ["name"]),
            (lambda: ContentType.objects.order_by("model", "app_label"), ["model", "app_label"]),
            (lambda: Job.objects.order_by("enqueued_at", "pk"), ["enqueued_at", "id"]),
            (lambda: Attempt.objects.order_by("job", "pk"), ["job", "id"]),
        ],
    )
    def test_goes_by_its_order_up_to_where_that_is_unique(self, rows, names):
        assert [field.name for field, _ in source_of(rows(), 1).fields] == names

    @pytest.mark.parametrize(
        ("rows", "error", "text"),
        [
            (lambda: Shop.objects.order_by("name"), ValueError, "add “pk” behind name"),
            (lambda: Shop.objects.order_by("?"), ValueError, "cannot go by '\\?'"),
            (lambda: Permission.objects.order_by("content_type__model"), ValueError, "order by fields of Permission"),
            (lambda: Job.objects.order_by("started_at", "pk"), ValueError, "'started_at', which may be null"),
            (lambda: Shop.objects.all()[:3], ValueError, "a slice of a QuerySet"),
            (lambda: Shop.objects.all().union(Shop.objects.all()), ValueError, "a union\\(\\) of a QuerySet"),
            (lambda: Shop.objects.order_by("name", "pk").distinct("name"), ValueError, "distinct\\(\\) with fields"),
            (lambda: Shop.objects.annotate(n=Window(RowNumber())), ValueError, "a window function"),
            (lambda: Shop.objects.values("pk"), TypeError, "not over values\\(\\)"),
            (lambda: Shop.objects.values_list("pk", flat=True), TypeError, "not over values\\(\\)"),
        ],
    )
    def test_in_which_no_place_can_be_kept_is_refused(self, rows, error, text):
        with pytest.raises(error, match=text):
            source_of(rows(), 1)

    def test_keeps_times_and_other_values_as_they_are(self):
        for _ in range(3):
            make_job()
        assert_goes_on_behind_each(lambda: Job.objects.order_by("-enqueued_at", "pk"), 1)
