"""Makes the pictures of the README anew: ``python docs/pictures.py``, with Chromium, its driver and selenium installed.

The demo runs on scratch data, and a browser goes through it as a person would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PORT = 8765
ADMIN = f"http://127.0.0.1:{PORT}/admin/"
WIDTH = 1120
sys.path.insert(0, str(ROOT))


def main() -> None:
    with demo(), browser() as chromium:
        log_in(chromium, "admin")
        chromium.get(f"{ADMIN}qorworker/job/run/newsletter.send_newsletter/")
        mail = {"subject": "Winter teas", "content": "The first of them have arrived.", "password": "letters"}
        fill(chromium, **mail, pause="0.4")
        wait_for(chromium, "#L8")
        picture(chromium, "job", 780)
        chromium.get(f"{ADMIN}qorworker/job/catalogue/")
        picture(chromium, "catalogue", 760)


@contextmanager
def demo() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "manage.py"), "demo", "--port", str(PORT)]
        environment = {**os.environ, "EXAMPLE_VAR": folder, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            for line in process.stdout or ():
                if "Ctrl-C stops" in line:
                    break
            yield
        finally:
            process.terminate()
            process.wait(40)


@contextmanager
def browser() -> Iterator[Any]:
    from selenium import webdriver

    from tests.browser import CHROMIUM, DRIVER, program

    options = webdriver.ChromeOptions()
    options.binary_location = program(*CHROMIUM)
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(program(*DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def log_in(chromium: Any, name: str) -> None:
    chromium.get(f"{ADMIN}login/")
    fill(chromium, username=name, password=name)


def fill(chromium: Any, **values: str) -> None:
    """Type into the fields of these names, and send the form of the last of them."""
    for name, value in values.items():
        field = chromium.find_element("name", name)
        field.clear()
        field.send_keys(value)
    field.submit()


def wait_for(chromium: Any, selector: str) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(chromium, 30, 0.1).until(lambda driver: driver.find_elements("css selector", selector))


def picture(chromium: Any, name: str, height: int) -> None:
    """The page in light and dark, without the admin's side bar."""
    chromium.execute_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
    for scheme in ("light", "dark"):
        metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        chosen = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", chosen)
        chromium.refresh()
        chromium.execute_script("scrollTo(0, 0)")
        chromium.save_screenshot(str(IMAGES / f"{name}-{scheme}.png"))


if __name__ == "__main__":
    main()
