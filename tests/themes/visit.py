"""A browser in front of a site that ``tests.themes.serve`` runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.browser.conftest import is_expected
from tests.browser.screen import Screen
from tests.support import ROOT

PROBE = Path(__file__).with_name("probe.js").read_text()
POST = """
    const [address, data, token] = arguments;
    const form = Object.assign(document.createElement("form"), {method: "post", action: address});
    for (const [name, value] of Object.entries({...data, csrfmiddlewaretoken: token})) {
        for (const one of [value].flat()) {
            form.append(Object.assign(document.createElement("input"), {type: "hidden", name, value: one}));
        }
    }
    document.body.append(form);
    form.submit();
"""
# Jazzmin and Unfold have switches of their own.
SWITCH = """
    const page = document.documentElement;
    if (page.dataset.bsTheme) page.dataset.bsTheme = arguments[0];
    if (page.hasAttribute("x-data")) page.classList.toggle("dark", arguments[0] === "dark");
"""
TOKEN = "return document.querySelector('[name=csrfmiddlewaretoken]').value"


@contextmanager
def serving(theme: str, language: str = "en") -> Iterator[dict[str, Any]]:
    """The site under *theme*, as ``tests.themes.serve`` describes it."""
    with TemporaryDirectory() as scratch, _process(theme, language, scratch) as process:
        try:
            line = process.stdout.readline()
            assert line, f"the site under {theme} did not start"
            yield json.loads(line)
        finally:
            process.terminate()


def _process(theme: str, language: str, scratch: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ, "TMPDIR": scratch, "QORWORKER_TEST_DATABASE": "sqlite", "QORWORKER_TEST_THEME": theme,
        "QORWORKER_TEST_LANGUAGE": language, "DJANGO_SETTINGS_MODULE": "tests.themes.settings",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.themes.serve"]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


class Visit:
    """The site in *driver*, and who is signed in."""

    def __init__(self, driver: Any, site: dict[str, Any]) -> None:
        self.driver, self.site, self.user = driver, site, ""
        self.screen = Screen(driver)

    def sign_in(self, user: str) -> None:
        if user != self.user:
            self.driver.get(self.site["url"] + "/admin/jsi18n/")
            self.driver.delete_all_cookies()
            self.driver.add_cookie({"name": "sessionid", "value": self.site["sessions"][user]})
            self.user = user

    def open(self, name: str) -> None:
        """Show the page of this name; nothing that earlier pages wrote to the console is left."""
        self.sign_in("viewer" if name == "denied" else "root")
        page = self.site["pages"][name]
        if isinstance(page, str):
            self.driver.get(self.site["url"] + page)
        else:
            address, data = page
            self.driver.get(self.site["url"] + self.site["pages"]["run"])
            self.driver.execute_script(POST, self.site["url"] + address, data, self.driver.execute_script(TOKEN))
            self.wait_for(address)

    def look(self, width: int, scheme: str) -> None:
        self.screen.look(width, scheme)
        self.driver.execute_script(SWITCH, scheme)
        self.screen.settle()

    def text(self) -> str:
        """What can be read on the page, on its buttons, too."""
        buttons = self.driver.find_elements("css selector", "input[type=submit]")
        shown = [str(button.get_attribute("value")) for button in buttons if button.is_displayed()]
        return "\n".join([self.driver.find_element("tag name", "body").text, *shown])

    def click(self, selector: str) -> None:
        """Click as a person does; what is covered or out of sight cannot be clicked."""
        element = self.driver.find_element("css selector", selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def button(self) -> str:
        return self.driver.find_element("css selector", "[data-qw-later]").get_attribute("value")

    def is_shown(self, selector: str) -> bool:
        return self.driver.find_element("css selector", selector).is_displayed()

    def shoot(self, name: str) -> None:
        self.screen.shoot(f"{self.site['theme']}-{name.replace(' ', '-')}")

    def wait_for(self, address: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        there = "return location.href === arguments[0] && document.readyState === 'complete'"
        WebDriverWait(self.driver, 30, 0.05).until(
            lambda driver: driver.execute_script(there, self.site["url"] + address)
        )

    def faults(self) -> list[str]:
        found: list[str] = self.driver.execute_script(PROBE)
        return found

    def errors(self) -> list[str]:
        """What the console says of scripts that failed and files that are missing, since it was asked last."""
        messages = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [message for message in messages if not is_expected(message)]
