"""A headless Chromium, driven over the W3C WebDriver protocol with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
)  # fmt: skip

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the driver is here, behind no proxy


def missing() -> str:
    """What is not installed here; empty where a browser and its driver are."""
    if not any(map(shutil.which, BROWSERS)):
        return "chromium"
    return "" if shutil.which("chromedriver") else "chromedriver"


class Chromium:
    """One window.  Every call raises RuntimeError with the browser's message where it refuses."""

    def __init__(self, address: str, profile: Path) -> None:
        self.address = address
        binary = next(path for path in map(shutil.which, BROWSERS) if path)
        options = {"binary": binary, "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }  # fmt: skip
        self.session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def open(self, url: str) -> None:
        """Go to a page, and wait until all of it is there."""
        self._in("POST", "/url", {"url": url})
        script = "return location.href === arguments[0] && document.readyState === 'complete'"
        until = time.monotonic() + 60
        while not self.run(script, url):
            assert time.monotonic() < until, f"{url} does not load"
            time.sleep(0.05)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns; one that returns a promise is awaited."""
        return self._in("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools Protocol."""
        return self._in("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int) -> None:
        """The size of the page's view, in CSS pixels, as a device of that width has it."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def picture(self, path: Path, height: int | None = None) -> None:
        """The page as PNG, down to ``height`` (all of it where none is given)."""
        clip = self.devtools("Page.getLayoutMetrics")["cssContentSize"] | {"scale": 1}
        clip["height"] = min(height or clip["height"], clip["height"])
        found = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))

    def press(self, key: str) -> None:
        """A key, to whatever has the focus."""
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._in("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def console(self) -> list[str]:
        """Messages of the console since the last call."""
        return [entry["message"] for entry in self._in("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that the page has asked for since the last call."""
        entries = [json.loads(e["message"])["message"] for e in self._in("POST", "/se/log", {"type": "performance"})]
        return [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]

    def close(self) -> None:
        self._in("DELETE", "")

    def _in(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, f"/session/{self.session}{path}", body)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with DIRECT.open(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{method} {path}: {json.load(error)['value']['message']}") from None


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """A browser with a new profile; it and its driver have ended when the block ends."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        assert driver.stdout is not None
        port = next(found[1] for line in driver.stdout if (found := re.search(r"success\w* on port (\d+)", line)))
        browser = Chromium(f"http://127.0.0.1:{port}", profile)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait()
        if driver.stdout:
            driver.stdout.close()
