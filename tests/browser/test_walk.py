"""A walk over every page: light and dark, wide and narrow, with script and without, with the keyboard alone.

All of it under the strict policy of the test project; the fixture ``page`` sees to it that nothing is reported.
"""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from qorworker import pause_queue
from qorworker.maintenance import sending
from qorworker.models import Job
from tests.admin import people_pages
from tests.admin.conftest import types  # noqa: F401
from tests.admin.support import BASE, STATES, XSS, a_worker, in_state, make_job, page_of, stored, superuser, user_with
from tests.browser import missing_browser
from tests.browser.screen import missing_axe
from tests.security.people import a_message, a_rule, a_schedule, told

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]

WORKERS = BASE.replace("/job/", "/worker/")
SCHEDULES = BASE.replace("/job/", "/schedule/")
LOOKS = [(1280, "light"), (360, "dark")]


@pytest.fixture
def site(page, types):  # noqa: F811
    """Jobs in every state with something to tell, workers that live and are gone; a superuser is signed in."""
    superuser()
    sending.declare()
    greet = types["greet"]
    jobs = {
        state: in_state(greet, state, arguments=stored(greet, subject="Tea at five"), progress=40, progress_text="Tea")
        for state in STATES
    }
    for job in jobs.values():
        told(job, "a line that is rather long, as lines of a log tend to be, and goes on for more than a narrow screen")
    make_job(types["upload"], "exception", error="ValueError: " + "a-very-long-word" * 12)
    for job in jobs.values():
        a_message(job)
    a_rule(jobs["done"])
    a_worker().pause(reason="It is too warm.")
    pause_queue("reports", reason="The printer is out of paper.")
    types["asks"].pause()
    a_worker(name="gone-1:7", host="gone-1")
    page.log_in("root", "pw")
    return jobs


def addresses(jobs: dict[str, Job]) -> dict[str, str]:
    return {
        **people_pages.addresses(),
        "dashboard": "/admin/qorworker/",
        "dashboard-month": "/admin/qorworker/?range=30d",
        "failures": BASE + "failures/",
        "catalogue": BASE + "catalogue/",
        "catalogue-found": BASE + "catalogue/?q=tea",
        "catalogue-table": BASE + "catalogue/?view=table",
        "run": BASE + "run/tests.greet/",
        "run-upload": BASE + "run/tests.upload/",
        "run-confirm": BASE + "run/tests.asks/",
        "run-secret": BASE + "run/tests.log_in/",
        "list": BASE,
        "list-empty": BASE + "?q=nothing-like-that",
        "list-scheduled": BASE + "?tab=scheduled",
        **{f"job-{state}": page_of(job) for state, job in jobs.items()},
        "update": page_of(jobs["scheduled"], "update/"),
        "delete": page_of(jobs["done"], "delete/"),
        "schedules": SCHEDULES,
        "schedule-choose": SCHEDULES + "add/",
        "schedule-new": SCHEDULES + "add/?job=tests.greet",
        "schedule-edit": f"{SCHEDULES}{a_schedule(jobs['done']).pk}/edit/",
        "schedule": f"{SCHEDULES}{a_schedule(jobs['done'], is_paused=True).pk}/change/",
        "schedule-delete": f"{SCHEDULES}{a_schedule(jobs['done']).pk}/delete/",
        "queues": f"{BASE.replace('/job/', '/queue/')}?pause=queue:mail",
        "workers": WORKERS,
        "worker": f"{WORKERS}{a_worker().pk}/change/",
        "not-found": BASE + "99999/change/",
    }


@pytest.mark.timeout(900)
def test_no_page_has_a_fault_in_any_look(site, page, screen):
    """One walk for all: every look of every page costs a second."""
    found = []
    for name, url in addresses(site).items():
        page.open(url)
        for width, scheme in LOOKS:
            screen.look(width, scheme)
            screen.shoot(f"{name}-{width}-{scheme}")
            faults = [*screen.overflow(), *(() if missing_axe() else screen.violations())]
            found += [f"{name} {width} {scheme}: {what}" for what in faults]
        found += [f"{name}: {what}" for what in screen.out_of_reach()]
    assert "\n".join(found) == ""


def test_what_the_keyboard_cannot_reach_is_found(page, screen):
    page.driver.get("data:text/html,<main class=qw><a href='%23'>Sound</a><button tabindex=-1>Far</button>")
    assert [what.split(": ")[1] for what in screen.out_of_reach()] == ["Tab does not come to it"]
    page.driver.get("data:text/html,<style>*{outline:0!important}</style><main class=qw><button>Dark</button>")
    assert [what.split(": ")[1] for what in screen.out_of_reach()] == ["nothing shows the focus"]


def test_the_buttons_of_every_queue_are_on_a_narrow_screen(site, page, screen):
    page.open(BASE.replace("/job/", "/queue/"))
    screen.look(360, "light")
    buttons = page.driver.find_elements(By.CSS_SELECTOR, "#qw-queues tbody .button")
    assert {button.text.split()[0] for button in buttons} == {"Pause…", "Resume"}
    assert [button.text for button in buttons if button.rect["x"] + button.rect["width"] > 360] == []


def test_texts_as_long_as_can_be_do_not_widen_a_narrow_screen(site, page, screen):
    word = "x" * 190
    job = in_state("tests.gone" + word[:150], "running", progress_text=word, queue_name="q" * 90)
    told(job, word)
    screen.look(360, "light")
    for url in (page_of(job), BASE, WORKERS, BASE + "catalogue/"):
        page.open(url)
        screen.shoot("long-" + url.strip("/").replace("/", "-"))
        assert screen.overflow() == [], url


def test_what_could_be_markup_is_text_in_the_browser(site, page):
    job = in_state("tests.greet", "running", progress_text=XSS)
    told(job, XSS)
    page.open(page_of(job))
    page.wait(lambda: XSS in page.text, "the text")
    assert page.driver.find_elements("xpath", "//main//script[not(@type='application/json')]") == []


# Without JavaScript


def test_without_script_a_job_is_run_and_cancelled_by_forms_alone(site, page, screen):
    with screen.without_script():
        page.open(BASE + "catalogue/")
        page.click("Send greetings")
        page.fill("Subject", "No script")
        page.click("Run")
        page.wait(lambda: "No script" in page.text, "the page of the job")
        page.click("Cancel…")
        page.wait(lambda: "It will not start." in page.text, "the question")
        page.click("Cancel")
        page.wait(lambda: "was cancelled" in page.text, "the answer")
    assert Job.objects.latest("pk").status == "cancelled"


def test_without_script_every_page_tells_what_it_has_to_tell(site, page, screen):
    with screen.without_script():
        for name, url in addresses(site).items():
            page.open(url)
            assert page.driver.find_elements("tag name", "h1"), name
        page.open(page_of(site["running"]))
        assert page.driver.find_elements("css selector", "meta[http-equiv=refresh]")
        assert "a line that is rather long" in page.text
        for only_with_script in page.driver.find_elements("css selector", ".qw-script"):
            assert not only_with_script.is_displayed(), only_with_script.get_attribute("outerHTML")
        page.open(BASE)
        page.click("Failed 3")
        assert "Upload" in page.text


def test_without_script_a_rule_is_tested_and_leads_to_its_messages(site, page, screen):
    with screen.without_script():
        page.open(people_pages.RULES)
        page.driver.find_element("xpath", "//button[contains(., 'Send a test')]").click()
        page.wait(lambda: "test message" in page.text and "To be sent" in page.text, "the list")


# With the keyboard alone


class Keyboard:
    """Hands that have no mouse."""

    def __init__(self, page: Any) -> None:
        self.page, self.driver = page, page.driver

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, text: str, most: int = 80) -> None:
        """Press Tab until the focus is on what reads *text*, on the field with this label, or on a link to it."""
        seen = []
        for _ in range(most):
            self.press(Keys.TAB)
            seen.append(self.focused())
            if text in seen[-1]:
                assert self.is_outlined(), f"nothing shows that the focus is on {text!r}"
                return
        raise AssertionError(f"Tab never came to {text!r}: {seen}")

    def focused(self) -> str:
        return self.driver.execute_script("""
            const at = document.activeElement;
            if (at === document.body) return "";
            const label = at.labels && at.labels.length ? at.labels[0].textContent : "";
            return [at.textContent || at.value || "", label, at.getAttribute("href") || ""].join(" ");
        """)

    def is_outlined(self) -> bool:
        return self.driver.execute_script("""
            const at = document.activeElement, style = getComputedStyle(at);
            const before = [style.outlineStyle, style.boxShadow, style.borderColor, style.textDecorationLine,
                            style.backgroundColor, style.color];
            at.blur();
            const plain = getComputedStyle(at);
            const after = [plain.outlineStyle, plain.boxShadow, plain.borderColor, plain.textDecorationLine,
                           plain.backgroundColor, plain.color];
            at.focus();
            return before.join() !== after.join();
        """)


def test_a_job_is_found_run_and_followed_to_its_end_with_the_keyboard_alone(page, worker):
    superuser()
    page.log_in("root", "pw")
    page.open(BASE + "catalogue/")
    keyboard = Keyboard(page)
    keyboard.tab_to("Search jobs")
    keyboard.tab_to("/run/testapp.fail/", 400)
    keyboard.press(Keys.ENTER)
    page.wait(lambda: "/run/testapp.fail/" in page.driver.current_url, "the form")
    keyboard.tab_to("Message:")
    keyboard.press(" with the keyboard")
    keyboard.tab_to("Run now")
    keyboard.press(Keys.ENTER)
    page.wait(lambda: "/change/" in page.driver.current_url, "the page of the job")
    page.wait(lambda: "Failed" in page.text, "the end")
    assert "with the keyboard" in page.text
    # Until then its buttons may be replaced under the fingers.
    page.wait(lambda: not page.driver.find_element("id", "qw-live").is_displayed(), "the page to come to rest")
    keyboard.tab_to("Retry")
    keyboard.press(Keys.ENTER)
    page.wait(lambda: "It repeats everything it did before" in page.text, "the question")
    keyboard.tab_to("Retry")
    keyboard.press(Keys.ENTER)
    page.wait(lambda: Job.objects.get().attempt == 2 and Job.objects.get().status == "exception", "one more attempt")


def test_a_dialog_keeps_the_focus_and_gives_it_back(site, page):
    page.open(page_of(site["running"]))
    keyboard = Keyboard(page)
    keyboard.tab_to("Abort…")
    keyboard.press(Keys.ENTER)
    page.wait(lambda: page.driver.find_elements("css selector", "dialog[open]"), "the question")
    keyboard.press(Keys.ESCAPE)
    page.wait(lambda: not page.driver.find_elements("css selector", "dialog[open]"), "the page")
    assert "Abort…" in keyboard.focused()
    site["running"].refresh_from_db()
    assert site["running"].abort_requested_at is None


def test_who_may_not_is_told_on_a_page_of_the_site(page, types):  # noqa: F811
    user_with("qorworker.view_job", name="viewer")
    page.log_in("viewer", "pw")
    page.open(BASE + "run/tests.greet/")
    assert "qorworker.run_job" in page.text
