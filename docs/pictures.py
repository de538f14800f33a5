"""Makes the pictures of the README anew: ``python docs/pictures.py``, with Chromium, its driver and selenium installed.

The demo runs on scratch data, and a browser goes through it as a person would. Beside the pictures it writes digests of
the templates, styles and scripts that they show; ``tests/test_pictures.py`` fails when these have changed since. With
the name of a folder, everything is written there.
"""

from __future__ import annotations

import hashlib
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
DIGESTS = "made-from.txt"
PACKAGE = ROOT / "qorworker"
STYLES = ("base", "qorworker", "controls", "catalogue", "charts", "dashboard", "detail", "flow")
SHOWN = (
    *(f"static/qorworker/{name}.css" for name in STYLES),
    "templates/admin/qorworker/*.html",
    "templates/admin/qorworker/dashboard/*.html",
    "templates/admin/qorworker/job/catalogue/*.html",
    "templates/admin/qorworker/job/catalogue.html",
    "templates/admin/qorworker/job/detail.html",
    "templates/admin/qorworker/job/obstacles.html",
    "templates/admin/qorworker/job/parts/*.html",
)
PORT = 8765
ADMIN = f"http://127.0.0.1:{PORT}/admin/"
WIDTH = 1120
sys.path.insert(0, str(ROOT))


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    with demo(), browser() as chromium:
        log_in(chromium, "admin")
        chromium.get(f"{ADMIN}qorworker/job/run/newsletter.send_newsletter/")
        mail = {"subject": "Winter teas", "content": "The first of them have arrived.", "password": "letters"}
        fill(chromium, **mail, pause="0.4")
        wait_for(chromium, "#L8")
        picture(chromium, folder / "job", 1080)
        for name, path in (("catalogue", "job/catalogue/"), ("dashboard", "")):
            chromium.get(f"{ADMIN}qorworker/{path}")
            picture(chromium, folder / name, 860)
    (folder / DIGESTS).write_text("".join(f"{digest}  {path}\n" for path, digest in digests().items()))


def digests() -> dict[str, str]:
    """Return a digest of each file that decides what the pictures show, by its path in the package."""
    files = sorted(path for pattern in SHOWN for path in PACKAGE.glob(pattern))
    return {str(path.relative_to(PACKAGE)): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files}


def recorded() -> dict[str, str]:
    """Return what ``digests`` was when the pictures were made."""
    lines = (IMAGES / DIGESTS).read_text().splitlines()
    return {path: digest for digest, path in (line.split("  ") for line in lines)}


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


def picture(chromium: Any, place: Path, height: int) -> None:
    """The page in light and dark, without the admin's side bar."""
    chromium.execute_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
    for scheme in ("light", "dark"):
        metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        chosen = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", chosen)
        chromium.refresh()
        chromium.execute_script("scrollTo(0, 0)")
        chromium.save_screenshot(f"{place}-{scheme}.png")


if __name__ == "__main__":
    main()
