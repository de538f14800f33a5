"""The run form and the catalogue in a browser: what their scripts show and hide."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

import qorworker
from qorworker.models import Job, Preset
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import BASE, superuser
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


@pytest.fixture
def root(page, types):  # noqa: F811
    superuser()
    page.log_in("root", "pw")
    return page


def submit_of(page):
    return page.driver.find_element("css selector", "[data-qw-later]")


def choose(page, when):
    page.driver.find_element("css selector", f'input[name="qw-when"][value="{when}"]').click()


def test_the_button_says_what_will_happen(root):
    root.open(BASE + "run/tests.greet/")
    assert submit_of(root).get_attribute("value") == "Run now"
    choose(root, "later")
    assert submit_of(root).get_attribute("value") == "Schedule"
    for name, text in (("qw-at_0", "2030-01-02"), ("qw-at_1", "09:00")):
        root.driver.find_element("name", name).send_keys(text)
    assert submit_of(root).get_attribute("value") == "Schedule for 2030-01-02 09:00"
    root.driver.find_element("name", "qw-at_0").clear()
    root.driver.find_element("name", "qw-at_0").send_keys("2020-01-02")
    root.wait(lambda: submit_of(root).get_attribute("value") == "Run now", "a past time starts at once")
    choose(root, "now")
    assert submit_of(root).get_attribute("value") == "Run now"


def test_the_button_follows_the_pickers_too(root):
    root.open(BASE + "run/tests.greet/")
    choose(root, "later")
    for shortcut in root.driver.find_elements("css selector", ".datetimeshortcuts > a:first-child"):
        if shortcut.is_displayed():
            shortcut.click()
    root.wait(lambda: submit_of(root).get_attribute("value") == "Run now", "today and now to be chosen")
    day = root.driver.find_element("name", "qw-at_0")
    day.clear()
    day.send_keys("2099-01-01")
    root.wait(lambda: submit_of(root).get_attribute("value").startswith("Schedule for 2099"), "the chosen time")


def test_enter_where_the_name_of_saved_arguments_is_asked_for_saves_them_and_runs_nothing(root):
    root.open(BASE + "run/tests.greet/")
    root.fill("Subject", "Tea")
    root.click("Save arguments…")
    root.wait(lambda: "What is saved" in root.text, "the page that asks for a name")
    root.driver.find_element("name", "qw-name").send_keys("every week", Keys.ENTER)
    root.wait(lambda: "The arguments are saved as “every week”." in root.text, "the message")
    assert root.driver.find_element("name", "subject").get_attribute("value") == "Tea"
    assert Preset.objects.get().arguments["subject"] == "Tea"
    assert not Job.objects.exists()


def test_back_in_the_form_after_saving_it_can_be_sent(root):
    root.open(BASE + "run/tests.greet/")
    root.fill("Subject", "Tea")
    root.click("Save arguments…")
    root.wait(lambda: "What is saved" in root.text, "the page that asks for a name")
    root.driver.back()
    root.wait(lambda: root.driver.find_elements("name", "subject"), "the form")
    root.fill("Subject", "Coffee")
    root.click("Run now")
    root.wait(lambda: "/change/" in root.driver.current_url, "the page of the job")
    assert Job.objects.get().arguments["subject"] == "Coffee"


def test_the_summary_of_errors_has_the_focus_and_leads_to_the_field(root):
    root.open(BASE + "run/tests.greet/")
    root.click("Run now")
    root.wait(lambda: "Nothing was started." in root.text, "the errors")
    assert "qw-errors" in root.driver.switch_to.active_element.get_attribute("class")
    root.driver.find_element("css selector", ".qw-errors a").click()
    assert root.driver.execute_script("return document.querySelector(':target').name") == "subject"


@pytest.mark.parametrize("view", ["cards", "table"])
def test_the_catalogue_narrows_while_one_types(root, view):
    root.open(BASE + f"catalogue/?view={view}")
    search = root.driver.find_element("id", "qw-q")
    search.send_keys("GREET")
    root.wait(lambda: "1 shown" in root.text, "the count")
    assert "Send greetings" in root.text
    assert "Open door" not in root.text
    assert "Doors" not in root.text
    search.send_keys("zzz")
    root.wait(lambda: "Nothing found" in root.text, "the count")
    search.clear()
    search.send_keys("o")
    root.wait(lambda: "Open door" in root.text, "everything with an o")
