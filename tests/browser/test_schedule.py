"""The form of a schedule in a browser."""

from __future__ import annotations

import pytest
from django.urls import reverse

from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import user_with
from tests.browser import missing_browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]
MANAGE = ("qorworker.view_job", "qorworker.run_job", "qorworker.manage_schedule", "qorworker.view_job_arguments")


@pytest.fixture
def live_in(page):
    """Tells the browser in which time zone it is."""
    override = "Emulation.setTimezoneOverride"
    yield lambda zone: page.driver.execute_cdp_cmd(override, {"timezoneId": zone})
    page.driver.execute_cdp_cmd(override, {"timezoneId": ""})


@pytest.mark.parametrize(
    ("zone", "likely"),
    [
        ("Asia/Tokyo", ["Asia/Tokyo", "Europe/Berlin", "UTC"]),
        ("Europe/Berlin", ["Europe/Berlin", "UTC"]),
    ],
)
def test_the_zone_of_the_browser_is_the_first_and_not_chosen_unasked(page, live_in, types, zone, likely):  # noqa: F811
    user_with(*MANAGE, name="olga")
    live_in(zone)
    page.log_in("olga", "pw")
    page.open(f"{reverse('admin:qorworker_schedule_add')}?job=tests.greet")
    offered = page.driver.find_elements("css selector", 'select[name="qw-zone"] optgroup:first-of-type option')
    assert [option.text for option in offered] == likely
    assert page.driver.find_element("name", "qw-zone").get_attribute("value") == "Europe/Berlin"
