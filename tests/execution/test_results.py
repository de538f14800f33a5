"""The results of a handler: titles of their columns, and rows with keys."""

import json

import pytest
from django.utils import translation
from django.utils.translation import gettext_lazy

from qorworker import Cell
from qorworker.execution.messages import decode, encode
from qorworker.text.masking import Mask
from tests.execution.test_context import Records, make


@pytest.fixture
def records():
    return Records()


@pytest.fixture
def context(records):
    return make(records)


class TestTitles:
    def test_they_are_sent_once_before_the_rows(self, context, records):
        context.set_results_columns("SKU", gettext_lazy("Yes"), 2026)
        context.set_results_columns("SKU", gettext_lazy("Yes"), 2026)
        context.add_results_row("TEA-01")
        assert records == [["columns", 7, ["SKU", ["Yes"], "2026"]], ["row", 7, [["TEA-01", ""]]]]

    def test_other_titles_are_refused_and_the_error_names_those_there_are(self, context, records):
        context.set_results_columns("SKU", "Name")
        with pytest.raises(ValueError, match="have titles already: SKU, Name"):
            context.set_results_columns("SKU", "Price")
        assert len(records) == 1

    def test_after_the_first_row_they_are_refused(self, context, records):
        context.add_results_row("TEA-01")
        with pytest.raises(ValueError, match="come before the first row, and 1 are added"):
            context.set_results_columns("SKU")
        assert not records.of("columns")

    @pytest.mark.parametrize(
        ("titles", "error"),
        [
            ((), "needs at least one title"),
            (("x",) * 10_000, "cannot have 10000 columns with titles: 1000 are possible"),
            (("x" * 200,) * 1000, "titles of 1000 columns take .* bytes: at most 32768"),
        ],
    )
    def test_too_few_and_too_many_are_refused(self, context, records, titles, error):
        with pytest.raises(ValueError, match=error):
            context.set_results_columns(*titles)
        assert records == []

    def test_as_many_as_possible_fit_into_one_message(self, context, records):
        context.set_results_columns(*(f"Column {number}" for number in range(1000)))
        assert decode(encode(records)) == records

    def test_a_row_that_is_longer_is_refused_and_the_error_names_the_row_and_the_titles(self, context, records):
        context.set_results_columns("SKU", gettext_lazy("Yes"))
        context.add_results_row("TEA-01")
        context.add_results_row("TEA-02", 1)
        with translation.override("de"), pytest.raises(ValueError, match=r"Row 3 .* 3 cells, .* 2 columns: SKU, Ja"):
            context.add_results_row("TEA-03", 1, 2)
        assert (context.results_rows, len(records.of("row"))) == (2, 2)

    def test_of_very_many_titles_an_error_names_the_first_ones(self, context):
        context.set_results_columns(*map(str, range(100)))
        with pytest.raises(ValueError, match=r"18, 19, … \(100 in all\)"):
            context.add_results_row(*range(101))

    def test_secrets_in_them_are_masked(self, records):
        make(records, mask=Mask(["c4n4ry"])).set_results_columns("for c4n4ry", gettext_lazy("c4n4ry"))
        assert "c4n4ry" not in json.dumps(records)


class TestKeys:
    def test_a_row_has_its_key(self, context, records):
        context.add_results_row("TEA-01", Cell(-3, error="negative"), key="TEA-01")
        assert records == [["row", 7, [["TEA-01", ""], [-3, "negative"]], "TEA-01"]]
        assert decode(encode(records)) == records

    def test_the_same_key_twice_is_refused_and_named(self, context, records):
        context.add_results_row("a", key="TEA-01")
        with pytest.raises(ValueError, match="Two rows of the results have the same key: 'TEA-01'"):
            context.add_results_row("b", key="TEA-01")
        assert (context.results_rows, len(records)) == (1, 1)

    def test_a_key_of_a_refused_row_is_free(self, context):
        context.set_results_columns("SKU")
        with pytest.raises(ValueError, match="2 cells"):
            context.add_results_row("a", "b", key="TEA-01")
        context.add_results_row("a", key="TEA-01")

    @pytest.mark.parametrize(
        ("key", "error"),
        [
            ("", "is empty"), (7, "is a text, not int: 7"), (b"x", "not bytes"),
            ("a\nb", r"control character: 'a\\nb'"), ("a\0", "control character"),
            ("\ud800", "control character"), ("a\u2028", "control character"),
            ("x" * 201, "has 201 characters, and 200 are kept: 'x{50}'…"),
        ],
    )  # fmt: skip
    def test_a_key_that_cannot_be_kept_is_refused_and_named(self, context, records, key, error):
        with pytest.raises(ValueError, match=error):
            context.add_results_row("a", key=key)
        assert records == []

    @pytest.mark.parametrize("key", ["x" * 200, "7", "Grüße", "茶", "TEA\N{NO-BREAK SPACE}01", "a/b?c", "🫖"])
    def test_any_other_text_is_a_key(self, context, records, key):
        context.add_results_row(key=key)
        assert records[0][3] == key

    def test_a_secret_is_no_key(self, records):
        with pytest.raises(ValueError, match="has a secret argument in it") as raised:
            make(records, mask=Mask(["c4n4ry"])).add_results_row(key="of c4n4ry")
        assert "c4n4ry" not in str(raised.value)
