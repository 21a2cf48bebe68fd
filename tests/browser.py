"""A headless Chromium by its WebDriver; where there is none, tests that need it are skipped, and say so."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

OPTIONS = {"args": ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]}

SCREENS = [(width, colours) for width in (400, 1400) for colours in ("light", "dark")]

FAULTS = r"""
const wide = arguments[0] >= 1000, found = [];
const shown = (node) => node.getClientRects().length > 0;
const name = (node) => `${node.tagName.toLowerCase()} ${(node.textContent || node.src || "").trim().slice(0, 40)}`;
if (document.documentElement.scrollWidth > window.innerWidth) found.push("the page is wider than the window");
for (const node of document.querySelectorAll(".scroll"))
  if (wide && node.scrollWidth > node.clientWidth + 1) found.push("cut off: " + name(node));
for (const node of document.querySelectorAll("td.wrap"))
  if (shown(node) && node.textContent.trim().length > 12 && node.clientWidth < 90)
    found.push("a sliver: " + name(node));
for (const node of document.querySelectorAll("img")) {
  if (!node.alt) found.push("no alt: " + node.src.slice(0, 60));
  const own = node.getBoundingClientRect(), around = node.parentNode.getBoundingClientRect();
  const inside = own.right <= around.right + 1 && own.left >= around.left - 1 && own.width >= 24;
  if (shown(node) && !inside) found.push("misplaced: " + node.alt);
}
for (const node of document.querySelectorAll("svg")) if (!node.getAttribute("aria-label")) found.push("no name: svg");
const parts = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = (rgb) => rgb.slice(0, 3).map((v) => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const rgb = parts(getComputedStyle(at).backgroundColor);
    if (rgb.length === 3 || rgb[3] === 1) return rgb;
  }
  return [255, 255, 255];
};
const texts = "h1, h2, p, td, th, small, span, figcaption, summary, label, button, pre, b";
for (const node of document.querySelectorAll(texts)) {
  if (!shown(node) || node.closest("svg") || !node.textContent.trim()) continue;
  const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) found.push(`faint (${((a + 0.05) / (b + 0.05)).toFixed(1)}): ` + name(node));
}
return [...new Set(found)].slice(0, 10);
"""
"""What a reader would stumble over, measured: overflow, columns cut off or too narrow to read, pictures outside their
place or without words, text of less contrast than WCAG AA asks for."""


class Browser:
    """One session.

    Args:
        address: of the session.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def open(self, url: str) -> None:
        """Goes to a page and waits until it is loaded."""
        command(self.address + "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body of JavaScript returns."""
        return command(self.address + "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, expression: str) -> Any:
        """The value of an expression, once it is true."""
        for _ in range(200):
            if found := self.run(f"return {expression}"):
                return found
            time.sleep(0.1)
        raise AssertionError(expression)

    def show(self, width: int, colours: str, height: int = 900) -> None:
        """Takes on a width and height in CSS pixels, and `light` or `dark`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        media = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
        for name, values in (("setDeviceMetricsOverride", size), ("setEmulatedMedia", media)):
            command(self.address + "/goog/cdp/execute", {"cmd": f"Emulation.{name}", "params": values})

    def picture(self, selector: str | None = None) -> bytes:
        """PNG of the window, or of the first element that a selector finds."""
        place = self.address
        if selector is not None:
            found = command(place + "/element", {"using": "css selector", "value": selector})
            place += f"/element/{next(iter(found.values()))}"
        with urllib.request.urlopen(place + "/screenshot", timeout=60) as response:
            return base64.b64decode(json.loads(response.read())["value"])


def command(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())["value"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, ended afterwards."""
    if not shutil.which("chromedriver"):
        pytest.skip("no chromedriver here: pages are not looked at in a browser")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        driver = f"http://127.0.0.1:{listener.getsockname()[1]}"
    process = subprocess.Popen(
        ["chromedriver", f"--port={driver.rpartition(':')[2]}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        capabilities = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": OPTIONS}}}
        for left in range(100, -1, -1):
            try:
                session = f"{driver}/session/{command(driver + '/session', capabilities)['sessionId']}"
                break
            except OSError:
                if not left:
                    raise
                time.sleep(0.1)
        yield Browser(session)
        urllib.request.urlopen(urllib.request.Request(session, method="DELETE"), timeout=30).close()
    finally:
        process.terminate()
        process.wait()


def faults(browser: Browser, width: int) -> list[str]:
    """What is wrong with the page that is open, see `FAULTS`."""
    found: list[str] = browser.run(FAULTS, width)
    return found
