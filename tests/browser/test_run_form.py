"""The run form in a browser: what its script shows and hides."""

from __future__ import annotations

import pytest

import qorworker
from qorworker.models import Job
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import superuser
from tests.browser import missing_browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]


def meet(at: str, when: str = "noon", action: str = "", submit: str = "", dataset: str = "") -> None:
    """Its arguments are called like parts of the form."""


@pytest.mark.usefixtures("types")
def test_arguments_that_are_called_like_parts_of_the_form_work(page):
    qorworker.job(name="tests.meet")(meet)
    superuser()
    page.log_in("root", "pw")
    page.open("/admin/qorworker/job/run/tests.meet/")
    place, date = (page.driver.find_element("name", name) for name in ("at", "qw-at_0"))
    assert place.is_displayed()
    assert not date.is_displayed()
    place.send_keys("the station")
    page.click("Run now")
    page.wait(lambda: "/change/" in page.driver.current_url, "the page of the job")
    assert Job.objects.get().arguments["at"] == "the station"
    assert "the station" in page.text
