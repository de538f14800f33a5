"""What the browser is like: how wide, light or dark, with or without JavaScript; and what axe says of a page in it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

AXE = "axe_selenium_python"
GRAVE = ("serious", "critical")
SHOTS = os.environ.get("QORWORKER_TEST_SCREENSHOTS", "")  # a folder; empty: none are kept


def missing_axe() -> str:
    """Why pages cannot be examined by axe; empty if they can."""
    return "" if find_spec(AXE) else "axe-selenium-python is not installed: it needs Python 3.12"


def axe_script() -> str:
    folder = Path(find_spec(AXE).submodule_search_locations[0])
    return next(folder.rglob("axe.min.js")).read_text()


class Screen:
    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def look(self, width: int, scheme: str) -> None:
        """Show the page that is open *width* pixels wide, in the colours of *scheme*."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        media = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        self.settle()

    def settle(self) -> None:
        """The admin fades its links from one scheme to the other, whatever is asked for: look at the end of that."""
        self.driver.execute_script("""
            const fading = () => document.getAnimations().filter((one) => one instanceof CSSTransition);
            for (let time = 0; fading().length && time < 20; time += 1) fading().forEach((one) => one.finish());
        """)

    def reset(self) -> None:
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    @contextmanager
    def without_script(self) -> Any:
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

    def overflow(self) -> list[str]:
        """What makes the page wider than the screen; empty if nothing does."""
        return self.driver.execute_script("""
            const wide = document.documentElement;
            if (wide.scrollWidth <= wide.clientWidth) return [];
            const named = (e) => e.tagName + "." + e.className + " " + e.getBoundingClientRect().right;
            const found = [...document.querySelectorAll("body *")].filter(
                (element) => element.getBoundingClientRect().right > wide.clientWidth + 1
            );
            return [wide.scrollWidth + " of " + wide.clientWidth, ...found.slice(0, 5).map(named)];
        """)

    def out_of_reach(self) -> list[str]:
        """The links, buttons and fields of our page that Tab does not come to, or that look the same with the focus."""
        return self.driver.execute_script("""
            const looks = (element) => {
                const style = getComputedStyle(element);
                return [style.outlineStyle, style.outlineColor, style.boxShadow, style.borderColor, style.fill,
                        style.stroke, style.textDecorationLine, style.backgroundColor, style.color].join();
            };
            const named = (element, what) => element.outerHTML.slice(0, 120).replaceAll(":", "") + ": " + what;
            const controls = document.querySelectorAll(
                ".qw :is(a, button, summary, select, textarea, input:not([type=hidden])), .qw svg [role=img] [tabindex]"
            );
            const found = [];
            for (const one of controls) {
                // Django has another field in its place; the page of the schedule has the same links.
                if (one.matches(".select2-hidden-accessible, .qw-runs a")) continue;
                if (one.disabled || !one.checkVisibility({visibilityProperty: true})) continue;
                if (one.type === "radio" && !one.checked) continue; // the arrow keys come to it
                one.blur();
                const plain = looks(one);
                one.focus({preventScroll: true, focusVisible: true});
                const hasFocus = one.tabIndex >= 0 && document.activeElement === one;
                if (!hasFocus) found.push(named(one, "Tab does not come to it"));
                else if (looks(one) === plain) found.push(named(one, "nothing shows the focus"));
            }
            document.activeElement.blur();
            return found;
        """)

    def violations(self) -> list[str]:
        """What axe calls serious or critical on the page that is open."""
        if not self.driver.execute_script("return Boolean(window.axe)"):
            self.driver.execute_script(axe_script())
        found = self.driver.execute_async_script("""
            const done = arguments[arguments.length - 1];
            // The search box for rows is Django's, and has no name in any admin.
            const where = {include: [["body"]], exclude: [[".select2-container"]]};
            axe.run(where, {resultTypes: ["violations"]}).then((result) => done(result.violations));
        """)
        return [
            f"{one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary'][:200]}"
            for one in found
            if one["impact"] in GRAVE
            for node in one["nodes"]
        ]

    def shoot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(SHOTS) / f"{name}.png"))
