"""A definition that changed while jobs were waiting: what still runs, what does not, and what people are told."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Literal

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile

from qorworker import Arg, InvalidArguments, Secret
from qorworker.arguments import Arguments


def before(country: str, mode: Literal["add", "replace"] = "add", key: Secret[str] = ""):
    pass


@pytest.fixture
def job():
    arguments = Arguments("t", before)
    stored = arguments.dump(arguments.clean({"country": "DE", "mode": "replace", "key": "k"}))
    return SimpleNamespace(arguments=stored, fingerprint=arguments.fingerprint)


def test_nothing_changed_is_no_drift(job):
    drift = Arguments("t", before).drift(job)
    assert not drift
    assert drift.explain() == ""


def test_new_and_gone_fields_are_told(job):
    def after(region: str, mode: Literal["add", "replace"] = "add", key: Secret[str] = ""):
        pass

    drift = Arguments("t", after).drift(job)
    assert (drift.new, drift.gone, drift.changed) == (("region",), ("country",), ())
    assert drift.explain() == "The field “region” is new. The field “country” no longer exists."


def test_a_value_that_no_longer_fits_is_told(job):
    def after(country: int, mode: Literal["add", "merge"] = "add", key: Secret[str] = ""):
        pass

    drift = Arguments("t", after).drift(job)
    assert drift.changed == ("country", "mode")
    assert drift.explain() == "The value of “country” no longer fits. The value of “mode” no longer fits."


def test_a_change_that_every_stored_value_survives_is_no_drift(job):
    def after(country: str | None, mode: str = "add", key: Secret[str] = ""):
        pass

    assert Arguments("t", after).fingerprint != job.fingerprint
    assert not Arguments("t", after).drift(job)


def test_a_secret_that_became_a_text_is_drift_and_not_shown(job):
    def after(country: str, mode: str = "add", key: str = ""):
        pass

    drift = Arguments("t", after).drift(job)
    assert drift.changed == ("key",)
    assert {one.name: one.text for one in Arguments("t", after).display(job.arguments)}["key"] == "••••••"


def test_a_new_field_with_a_default_keeps_old_jobs_running(job):
    def after(
        country: str, mode: str = "add", key: Secret[str] = "", factor: Annotated[Decimal, Arg()] = Decimal("1.5")
    ):
        pass

    assert Arguments("t", after).load(job.arguments)["factor"] == Decimal("1.5")


def test_a_new_field_without_a_default_stops_old_jobs(job):
    def after(country: str, region: int | None, mode: str = "add", key: Secret[str] = ""):
        pass

    with pytest.raises(InvalidArguments) as error:
        Arguments("t", after).load(job.arguments)
    assert list(error.value.errors) == ["region"]


def test_a_field_that_is_gone_stops_old_jobs(job):
    def after(mode: str = "add", key: Secret[str] = ""):
        pass

    with pytest.raises(InvalidArguments) as error:
        Arguments("t", after).load(job.arguments)
    assert error.value.errors == {"country": ["This argument no longer exists."]}
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", after).reuse(job.arguments, {"key": "k"})
    assert list(error.value.errors) == ["country"]


def test_the_form_opens_with_what_still_fits(job):
    def after(country: int, mode: Literal["add", "replace"] = "add", region: str = "", key: Secret[str] = ""):
        pass

    assert Arguments("t", after).initial(job.arguments) == {"mode": "replace"}


def test_a_file_that_became_something_else_is_drift(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path)

    def with_file(file: UploadedFile):
        pass

    def with_text(file: str):
        pass

    arguments = Arguments("t", with_file)
    stored = arguments.dump(arguments.clean({"file": ContentFile(b"x", "a.csv")}))
    job = SimpleNamespace(arguments=stored, fingerprint=arguments.fingerprint)
    assert Arguments("t", with_text).drift(job).changed == ("file",)
    back = SimpleNamespace(arguments={"file": "a text"}, fingerprint="other")
    assert Arguments("t", with_file).drift(back).changed == ("file",)
    assert not Arguments("t", with_file).drift(SimpleNamespace(arguments=stored, fingerprint="other"))
