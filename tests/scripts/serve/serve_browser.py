"""A real Chromium on a real `mee serve`: what a person does and sees, and what must never happen meanwhile."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

CHROMIUM, DRIVER = map(Path, ("/usr/bin/chromium", "/usr/bin/chromedriver"))  # Debian's
FLAGS = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
FLAGS += " disable-component-update disable-sync disable-dev-shm-usage hide-scrollbars mute-audio"
SHOTS = os.environ.get("MEE_SHOTS")  # a folder for pictures of what the tests saw
PATIENCE_S = 40  # until something has surely failed
CLOCK = """
const video = document.querySelector('video'), canvas = document.createElement('canvas');
const pen = canvas.getContext('2d', {willReadFrequently: true});
canvas.width = 160, canvas.height = 96;
pen.drawImage(video, 0, 0, 160, 96);
let shown = 0;
for (let bit = 0; bit < 8; bit++) {
  const {data} = pen.getImageData(bit * 20 + 5, 8, 10, 16);
  let sum = 0;
  for (let at = 0; at < data.length; at += 4) sum += data[at] + data[at + 1] + data[at + 2];
  if (sum / data.length * 4 / 3 > 127) shown += 2 ** bit;
}
return {clock_s: shown / 10, at_s: video.currentTime, heard: video.webkitAudioDecodedByteCount};
"""
WIDER = """
const wide = document.documentElement.clientWidth;
return document.scrollingElement.scrollWidth <= wide ? [] : [...document.querySelectorAll('body *')]
  .filter(it => it.getBoundingClientRect().right > wide + 1).slice(0, 3).map(it => it.outerHTML.slice(0, 120));
"""


def missing() -> str:
    """Why there is no browser here; empty: there is one."""
    from importlib.util import find_spec

    packages = [name for name in ("selenium", "axe_core_python", "fastapi", "uvicorn") if not find_spec(name)]
    absent = [*packages, *(str(each) for each in (CHROMIUM, DRIVER) if not each.exists())]
    return f"not here: {', '.join(absent)}" if absent else ""


@contextmanager
def serving(index: Path, *flags: object):
    """A process of `mee serve`; its origin, such as http://127.0.0.1:4321."""
    command = [sys.executable, "-m", "scripts.cli", "serve", index, "--port", "0", *flags]
    given = {"cwd": Path(__file__).parents[3], "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, **given) as process:
        try:
            ready, _, _ = select.select([process.stdout], [], [], 2 * PATIENCE_S)
            line = process.stdout.readline() if ready else ""
            assert "http://" in line, f"mee serve said {line!r}"
            yield line[line.index("http://") :].split()[0].rstrip("/")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def chromium(profile: Path):
    """A selenium driver that keeps what the console and the network say."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS.split(), f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    downloads = {"download.default_directory": str(profile / "downloads")}
    options.add_experimental_option("prefs", downloads)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


class Tab:
    """A page on one origin; `check` says what went wrong meanwhile."""

    def __init__(self, driver, origin: str) -> None:
        self.driver, self.origin = driver, origin
        self.expected: set[int] = set()  # statuses of answers that the test provokes
        before = driver.current_window_handle
        driver.switch_to.new_window("tab")  # with a storage of its own
        fresh = driver.current_window_handle
        driver.switch_to.window(before)
        driver.close()
        driver.switch_to.window(fresh)
        self.size(1400)
        self.dark(False)
        self.cdp("Emulation.setScriptExecutionDisabled", value=False)
        driver.delete_all_cookies()
        self._logs()

    def open(self, path: str = "/", **query: object) -> None:
        """Go to an address; `query`: its fields, lists are repeated."""
        self.driver.get(self.origin + path + ("?" + urlencode(query, doseq=True) if query else ""))
        self.until(lambda: self.js("return document.readyState") == "complete", "loaded, scripts too")

    def cdp(self, method: str, **given: object):
        return self.driver.execute_cdp_cmd(method, given)

    def size(self, width: int, height: int = 900) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def dark(self, dark: bool) -> None:
        look = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.cdp("Emulation.setEmulatedMedia", features=[look, still])

    def js(self, script: str, *given: object):
        return self.driver.execute_script(script, *given)

    def all(self, css: str):
        return self.driver.find_elements("css selector", css)

    def one(self, css: str):
        """The first element that is shown, once there is one."""
        return self.until(lambda: next((it for it in self.all(css) if it.is_displayed()), None), css)

    def until(self, holds, what: object = ""):
        """What a function returns, once it is true."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if found := holds():
                    return found
            except StaleElementReferenceException:
                pass
            time.sleep(0.03)
        self.shot("waited")
        raise AssertionError(f"waited {PATIENCE_S} s for {what or holds}; {self._logs()}")

    def keys(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        """The element that has the focus, as it is written; empty: none has."""
        return self.js("const it = document.activeElement; return it === document.body ? '' : it.outerHTML")

    def hits(self) -> list[dict]:
        """The hits on the page: their data, in order."""
        return self.js("return [...document.querySelectorAll('article.hit')].map(it => ({...it.dataset}))")

    def clock(self) -> dict:
        """Seconds that the picture of the video tells, those of the player, and bytes of sound so far."""
        return self.js(CLOCK)

    def violations(self) -> list[str]:
        """What axe finds, and what is wider than the window."""
        import axe_core_python

        if not self.js("return !!window.axe"):
            self.js((Path(axe_core_python.__file__).parent / "axe.min.js").read_text())
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run({preload: false}).then(it => done(it.violations), done)"
        )
        wrong = [f"{it['id']}: {node['html'][:200]}" for it in found for node in it["nodes"]]
        return wrong + [f"wider than the window: {it}" for it in self.js(WIDER)]

    def shot(self, name: str) -> None:
        """A picture, where MEE_SHOTS names a folder."""
        if SHOTS:
            Path(SHOTS).mkdir(exist_ok=True, parents=True)
            self.driver.save_screenshot(str(Path(SHOTS) / f"{name}.png"))

    def check(self) -> None:
        """Nothing left the origin, nothing failed, the console is empty, and no foreign script ran."""
        wrong = self._logs()
        assert not wrong, wrong
        assert self.js("return window.ran") is None, "a foreign script ran"

    def _logs(self) -> list[str]:
        wrong = [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if not any(f"status of {status} " in entry["message"] for status in self.expected)
        ]
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            match event["method"], event["params"]:
                case "Network.requestWillBeSent", {"request": {"url": url}}:
                    parts = urlsplit(url)
                    if f"{parts.scheme}://{parts.netloc}" != self.origin and parts.scheme not in ("data", "about"):
                        wrong.append(f"asked for {url}")
                case "Network.responseReceived", {"response": {"status": status, "url": url}}:
                    if status >= 400 and status not in self.expected:
                        wrong.append(f"{status} of {url}")
                case "Network.loadingFailed", {"errorText": why, "canceled": False}:
                    wrong.append(f"failed: {why}")
        return list(dict.fromkeys(wrong))[:8]
