"""The page in a browser: axe-core finds nothing, in light and dark, and nothing scrolls sideways but tables.

Skipped without Chromium or axe-core (pip: axe-core-python); test_page.py reads the source everywhere.
"""

import html
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FRAME = """<!doctype html><html lang="en"><head><title>wait</title></head><body style="margin:0">
<iframe id="f" style="border:0;width:{width}px;height:2000px"></iframe><script>
const frame = document.getElementById("f");
frame.onload = async () => {{
  const inside = frame.contentWindow, page = inside.document;
  page.querySelectorAll("details").forEach(d => d.open = true);
  const found = await inside.axe.run(page, {{resultTypes: ["violations"]}});
  const wide = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  const dark = inside.matchMedia("(prefers-color-scheme: dark)").matches;
  const violations = found.violations.map(v => v.id + ": " + v.nodes.map(n => n.target.join(" ")).slice(0, 3));
  document.title = "done " + JSON.stringify({{violations, passes: found.passes.length, wide, dark}});
}};
frame.srcdoc = {page};
</script></body></html>"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """browse(page, width, dark) -> what axe-core says, and how far the page is wider than the window."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    package = importlib.util.find_spec("axe_core_python")
    if package is None:
        pytest.skip("no axe-core is installed (pip install axe-core-python)")
    axe = Path(package.origin).with_name("axe.min.js").read_text("utf-8")

    def run(page, width, dark=False):
        place = tmp_path_factory.mktemp("browser")
        script = axe.replace("</script", "<\\/script")
        inside = json.dumps(page.replace("</body>", f"<script>{script}</script></body>")).replace("</", "<\\/")
        outside = place / "frame.html"
        outside.write_text(FRAME.format(width=width, page=inside), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={place / 'profile'}"]
        command += [f"--window-size={max(width, 500)},2000", "--virtual-time-budget=60000", "--dump-dom"]
        command += ["--blink-settings=preferredColorScheme=0"] if dark else []
        ran = subprocess.run([*command, outside.as_uri()], capture_output=True, text=True, timeout=110)
        found = re.search(r"<title>done (.*?)</title>", ran.stdout, re.DOTALL)
        assert found, ran.stderr[-2000:]
        return json.loads(html.unescape(found[1]))

    return run


WINDOWS = [(320, False), (400, True), (1400, False), (1400, True)]
ALL = [(name, *window) for name in ("one", "several", "choice") for window in WINDOWS]


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        ("several", 400, False),
        ("several", 400, True),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ALL),
    ],
)
def test_every_page_light_and_dark(browse, pages, name, width, dark):
    found = browse(pages[name], width, dark)
    assert (found["violations"], found["wide"], found["dark"]) == ([], 0, dark)
    assert found["passes"] > 20  # it did look


@pytest.mark.slow
def test_the_check_finds_what_is_wrong(browse, pages):
    spoilt = pages["one"].replace('scope="col"', 'scope="nonsense"').replace(' lang="en"', "")
    wrong = '<img src="data:,"><p style="color:#999">pale</p><div style="width:900px">x</div>'
    spoilt = spoilt.replace("</main>", f"{wrong}</main>")
    found = browse(spoilt, 400)
    ids = {violation.partition(":")[0] for violation in found["violations"]}
    assert {"html-has-lang", "image-alt", "color-contrast"} <= ids
    assert found["wide"] > 300
