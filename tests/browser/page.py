"""What a person does with the admin's pages, in their words: links and buttons by their text, fields by their label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

LIMIT = 60  # seconds; generous, because nothing here depends on how long something takes


class Page:
    def __init__(self, driver: WebDriver, site: str) -> None:
        self.driver, self.site = driver, site

    def open(self, path: str) -> None:
        self.driver.get(self.site + path)

    def log_in(self, username: str, password: str) -> None:
        self.open("/admin/login/?next=/admin/")
        self.fill("Username", username)
        self.fill("Password", password)
        self.driver.find_element(By.CSS_SELECTOR, "#login-form [type=submit]").click()
        self.wait(lambda: "/login/" not in self.driver.current_url, "the login to be accepted")

    def fill(self, label: str, text: str) -> None:
        """Type *text* into the field whose label begins with *label*."""
        found = self.driver.find_element(By.XPATH, f"//label[starts-with(normalize-space(), '{label}')]")
        field = self.driver.find_element(By.ID, found.get_attribute("for"))
        field.clear()
        field.send_keys(text)

    def click(self, text: str) -> None:
        """Click the visible link or button that reads *text*."""
        named = f"[normalize-space()='{text}' or @value='{text}']"
        found = self.driver.find_elements(By.XPATH, f"//a{named} | //button{named} | //input[@type='submit']{named}")
        shown = [element for element in found if element.is_displayed()]
        assert shown, f"nothing to click reads {text!r} on {self.driver.current_url}:\n{self.text}"
        shown[-1].click()

    @property
    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    @property
    def progress(self) -> int | None:
        """The value of the progress bar; None if there is none, or it shows no value."""
        bars = self.driver.find_elements(By.TAG_NAME, "progress")
        value = bars[0].get_attribute("value") if bars else None
        return None if value is None else round(float(value))

    def mark(self) -> None:
        """Leave a mark that a reload would take away."""
        self.driver.execute_script("window.qorworkerTest = 1")

    @property
    def is_marked(self) -> bool:
        return self.driver.execute_script("return window.qorworkerTest === 1")

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until *condition* is true; elements that are replaced meanwhile are looked up anew."""
        wait = WebDriverWait(self.driver, LIMIT, 0.1, (StaleElementReferenceException,))
        try:
            return wait.until(lambda driver: condition())
        except TimeoutException:
            raise AssertionError(f"waited for {what} on {self.driver.current_url}:\n{self.text}") from None
