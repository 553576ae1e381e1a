"""A headless Chromium that tests drive, and what it saw."""
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PROGRAMS = ("chromium", "chromedriver")
WAIT = 120
"""Seconds that a page may take to draw, on a busy machine."""


def find_programs() -> list[str]:
    """Paths of browser and driver; skips where they are not, unless they are required."""
    found = [shutil.which(name) for name in PROGRAMS]
    missing = [name for name, path in zip(PROGRAMS, found, strict=True) if path is None]
    if missing:
        reason = (f"no {' and no '.join(missing)} here: the page is not opened in a browser "
                  "(Debian: apt-get install chromium chromium-driver)")
        if os.environ.get("SPARSELOOM_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return [path for path in found if path is not None]


@contextmanager
def open_browser() -> Iterator[webdriver.Chrome]:
    """A browser that keeps its console and its requests."""
    browser, driver = find_programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--disable-background-networking", "--no-first-run"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        chrome.set_page_load_timeout(WAIT)
        yield chrome
    finally:
        chrome.quit()


def show(chrome: webdriver.Chrome, page: Path, *, width: int = 1280, height: int = 900,
         scheme: str = "light") -> None:
    """Open a report as a screen of some width and a user of some taste sees it; all is drawn."""
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": scheme}]})
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
    for log in ("browser", "performance"):
        chrome.get_log(log)     # what was before is not this page's
    chrome.get(page.resolve().as_uri())
    wait_for(chrome, "return document.documentElement.dataset.drawn !== undefined")


def wait_for(chrome: webdriver.Chrome, script: str) -> None:
    """Until a script's answer is true."""
    end = time.monotonic() + WAIT
    while not chrome.execute_script(script):
        assert time.monotonic() < end, f"not within {WAIT} s: {script}"
        time.sleep(0.1)


def console_of(chrome: webdriver.Chrome) -> list[str]:
    """What the page and the browser said, since the last call or :func:`show`."""
    return [f"{entry['level']}: {entry['message']}" for entry in chrome.get_log("browser")]


def requests_of(chrome: webdriver.Chrome) -> list[str]:
    """Addresses that the page asked for, likewise; data that is in the page left out."""
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    found = [event["params"]["request"]["url"] for event in events
             if event["method"] == "Network.requestWillBeSent"]
    return [url for url in found if not url.startswith(("data:", "blob:"))]
