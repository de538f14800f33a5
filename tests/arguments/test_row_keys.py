"""The parameter for keys of rows: no form asks for it, and it survives the way to the table and back."""

from __future__ import annotations

import copy
import pickle
from typing import Optional

import pytest
from django import forms

from qorworker import InvalidArguments, JobContext, RowKeys
from qorworker.arguments import Arguments
from qorworker.exceptions import JobTypeError
from tests.job_types import round_trip, stored_form


def import_rows(context: JobContext, shop: str = "Berlin", only: RowKeys | None = None, factor: int = 1) -> None: ...


class ShopForm(forms.Form):
    shop = forms.CharField()


def with_form(shop: str, only: RowKeys | None = None) -> None: ...


def with_whole_form(arguments: dict, only: RowKeys | None = None) -> None: ...


def of(function, form=None) -> Arguments:
    return Arguments("app.import_rows", function, form)


class TestRowKeys:
    def test_they_are_a_collection_in_the_order_of_the_rows(self):
        keys = RowKeys(["b", "a", "b"])
        assert (list(keys), len(keys), "a" in keys, "c" in keys) == (["b", "a"], 2, True, False)
        assert repr(keys) == "RowKeys(['b', 'a'])"
        assert keys == RowKeys(["a", "b"]) != RowKeys(["a"])
        assert keys != ["b", "a"]
        assert hash(keys) == hash(RowKeys(["a", "b"]))
        assert copy.copy(keys) == pickle.loads(pickle.dumps(keys)) == keys

    @pytest.mark.parametrize(("keys", "error"), [([7], ValueError), ([""], ValueError), ("TEA-01", TypeError)])
    def test_what_no_row_can_have_is_refused(self, keys, error):
        with pytest.raises(error):
            RowKeys(keys)


class TestSignature:
    @pytest.mark.parametrize("annotation", [RowKeys | None, Optional[RowKeys], "RowKeys | None"])  # noqa: UP045
    def test_the_parameter_is_no_field(self, annotation):
        def handler(shop: str, only=None): ...

        handler.__annotations__["only"] = annotation
        arguments = of(handler)
        assert (arguments.row_keys_parameter, list(arguments.fields), arguments.problems()) == ("only", ["shop"], {})

    def test_without_one_there_is_none(self):
        def handler(shop: str): ...

        assert of(handler).row_keys_parameter is None

    def test_it_does_not_change_the_fingerprint(self):
        def before(context: JobContext, shop: str = "Berlin", factor: int = 1): ...

        assert of(before).fingerprint == of(import_rows).fingerprint

    def test_it_needs_the_default_none(self):
        def handler(only: RowKeys): ...

        with pytest.raises(JobTypeError, match="only: its default must be None"):
            of(handler).fields  # noqa: B018

    def test_there_is_only_one(self):
        def handler(only: RowKeys | None = None, also: RowKeys | None = None): ...

        with pytest.raises(JobTypeError, match="also: the keys of rows go to only already"):
            of(handler).fields  # noqa: B018

    def test_a_field_of_a_given_form_has_another_name(self):
        class Form(forms.Form):
            shop = forms.CharField()
            only = forms.CharField()

        assert "same name" in of(with_form, Form).problems()["only"]


class TestTheWay:
    @pytest.mark.parametrize("keys", [RowKeys(["TEA-01", "b"]), ["TEA-01", "b"], ("TEA-01", "b")])
    def test_keys_come_to_the_handler_as_they_were_given(self, keys):
        assert round_trip(import_rows, only=keys) == {"shop": "Berlin", "factor": 1, "only": RowKeys(["TEA-01", "b"])}

    def test_without_them_nothing_is_stored_and_the_default_of_the_function_counts(self):
        assert stored_form(import_rows, {}) == stored_form(import_rows, {"only": None}) == {
            "shop": "Berlin", "factor": 1,
        }  # fmt: skip
        assert "only" not in round_trip(import_rows)

    def test_no_keys_are_not_all_rows(self):
        assert stored_form(import_rows, {"only": []})["only"] == []
        assert round_trip(import_rows, only=RowKeys())["only"] == RowKeys()

    @pytest.mark.parametrize(
        ("function", "given"), [(with_form, {"shop": "Oslo"}), (with_whole_form, {"arguments": {"shop": "Oslo"}})]
    )
    def test_they_come_beside_a_given_form(self, function, given):
        assert round_trip(function, ShopForm, shop="Oslo", only=["a"]) == {**given, "only": RowKeys(["a"])}

    @pytest.mark.parametrize("keys", ["TEA-01", 7, [7], [""], {"a": 1}, [["a"]]])
    def test_what_are_no_keys_is_refused(self, keys):
        with pytest.raises(InvalidArguments) as raised:
            of(import_rows).clean({"only": keys})
        assert raised.value.errors == {"only": ["These are not keys of rows."]}

    @pytest.mark.parametrize("stored", ["TEA-01", [7], {"$file": "x"}])
    def test_what_somebody_planted_in_the_table_is_refused(self, stored):
        with pytest.raises(InvalidArguments, match="not keys of rows"):
            of(import_rows).load({"shop": "Berlin", "factor": 1, "only": stored})

    def test_a_job_for_some_rows_does_not_run_for_all_when_its_type_takes_no_keys_any_more(self):
        def later(context: JobContext, shop: str = "Berlin", factor: int = 1): ...

        with pytest.raises(InvalidArguments, match="only: This argument no longer exists"):
            of(later).load(stored_form(import_rows, {"only": ["a"]}))

    def test_more_keys_than_a_job_can_keep_are_refused_with_the_sizes(self, settings):
        settings.QORWORKER = {**settings.QORWORKER, "ARGUMENTS_BYTES": 1024}
        with pytest.raises(InvalidArguments, match=r"only: The arguments take [\d,]+ bytes, and 1,024 are allowed"):
            stored_form(import_rows, {"only": [f"TEA-{number}" for number in range(200)]})

    def test_by_position_they_stand_where_the_signature_has_them(self):
        given = of(import_rows).named(("Oslo", ["a"], 2), {})
        assert given == {"shop": "Oslo", "only": ["a"], "factor": 2}

    def test_by_position_they_come_after_the_fields_of_a_given_form(self):
        assert of(with_form, ShopForm).named(("Oslo", ["a"]), {}) == {"shop": "Oslo", "only": ["a"]}

    def test_a_change_of_other_arguments_keeps_them(self):
        arguments, stored = of(import_rows), stored_form(import_rows, {"only": ["a"]})
        assert arguments.change(stored, {"factor": 2}) == {"shop": "Berlin", "factor": 2, "only": ["a"]}
        assert arguments.change(stored, {"only": ["b"]})["only"] == ["b"]
        assert "only" not in arguments.change(stored, {"only": None})

    def test_they_are_copied_to_another_run_and_are_no_drift(self):
        arguments, stored = of(import_rows), stored_form(import_rows, {"only": ["a"]})
        assert arguments.clean(arguments.reuse(stored, {}))["only"] == RowKeys(["a"])
        assert not arguments.compare(arguments.fields, stored)

    def test_jobs_for_other_rows_are_not_alike(self):
        arguments = of(import_rows)
        some, all_rows = stored_form(import_rows, {"only": ["a"]}), stored_form(import_rows, {})
        assert arguments.identity(some) != arguments.identity(all_rows)

    def test_they_are_listed_among_the_arguments(self):
        shown = of(import_rows).display(stored_form(import_rows, {"only": ["a", "b"]}))
        assert ("Only", "a, b") in [(one.label, one.text) for one in shown]
