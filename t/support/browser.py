# SPDX-License-Identifier: Apache-2.0
"""Debian's Chromium without a window, driven by selenium."""

import shutil
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from t.support import environment

WINDOW = "1280,900"


@contextmanager
def chromium():
    """A browser with a profile of its own, which goes with it."""
    profile = environment.public_folder("mod_pipeline-browser-")
    driver = webdriver.Chrome(options=_options(profile), service=_service(profile))
    driver.implicitly_wait(5 * environment.PATIENCE)
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


def _options(profile):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        # Root may not use the sandbox, and small machines have a small /dev/shm.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--ignore-certificate-errors",
        f"--window-size={WINDOW}",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return options


def _service(profile):
    environ = environment.clean_environment() | {"HOME": str(profile)}
    return Service(shutil.which("chromedriver"), env=environ)
