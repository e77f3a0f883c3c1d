"""Where commands run: closed streams, other locales and terminals, few handles, no home, full disks."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from scripts.evaluate import main as evaluate

SURROUNDINGS = {  # how a shell runs a command there, and the exit codes that are right
    "closed stdin": ("{} <&-", 0),
    "closed stdout": ("{} >&-", 0),
    "closed stderr": ("{} 2>&-", 0),
    "all closed": ("{} <&- >&- 2>&-", 0),
    "ASCII": ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {}", 0),
    "a narrow terminal": ("COLUMNS=1 TERM=dumb NO_COLOR=1 {}", 0),
    "a wide terminal": ("unset TERM; COLUMNS=1000000 {}", 0),
    "few handles": ("ulimit -n 32; {}", 0),
    "no home": ("HOME=/nonexistent {}", 0),
    "a closed pipe": ("{} | true; exit ${{PIPESTATUS[0]}}", (0, 1)),
    "a full disk": ("{} > /dev/full", (0, 1)),
    "a deleted folder": ("mkdir gone && cd gone && rmdir ../gone && {}", (0, 1, 2)),
}
COMMANDS = {
    "report": "report result.json", "help": "--help", "library": "library list",
    "page": "report result.json --videos videos --out page.html", "list": "store list store --clips",
    "gallery": "gallery list index --clips", "search": "search index 'a thing' --top 2",
    "explain": "explain model 'a thing' --out .",
    "evaluate": "evaluate store captions.csv model --ranks ranks.csv", "index": "index store model new-index",
    "train": "train store captions.csv new-model --embed-dim 8 --text.width 16 --epochs 1",
    "precompute": "precompute videos new-store --streams audio --workers 1",
    "import": "import new-import a=a.npy --ids ids.txt", "overlap": "overlap videos captions.csv --workers 1",
}  # fmt: skip
PATHS = ("result.json", "videos", "page.html", "store", "index", "model", "captions.csv", "ranks.csv", "a.npy")
PATHS += ("ids.txt", "new-index", "new-model", "new-store", "new-import")
FAST = ("report", "help")


@pytest.fixture(scope="module")
def place(world, tmp_path_factory):
    """The world with a result whose system is called süß."""
    import numpy as np

    place = tmp_path_factory.mktemp("surroundings")
    for name in ("videos", "store", "model", "index"):
        (place / name).symlink_to(getattr(world, name))
    shutil.copy(world.captions, place / "captions.csv")
    result = place / "result.json"
    assert evaluate([*map(str, (world.store, world.captions, world.model, "--result", result))]) == 0
    content = json.loads(result.read_text())
    content["system"]["name"] = "süß"
    result.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    np.save(place / "a.npy", np.ones((2, 3), np.float32))
    (place / "ids.txt").write_text("x\ny\n")
    return place


@pytest.mark.parametrize("where", SURROUNDINGS)
@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in COMMANDS]
)
def test_it_works_or_says_why_in_a_sentence(place, pytestconfig, command, where):
    shell, codes = SURROUNDINGS[where]
    name, *words = shlex.split(COMMANDS[command])
    words = [name, *(str(place / word) if word in PATHS else word for word in words)]
    line = shell.format(shlex.join([sys.executable, "-m", "scripts.cli", *words]))
    environment = {**os.environ, "PYTHONPATH": str(pytestconfig.rootpath), "OMP_NUM_THREADS": "1"}
    for name in place.glob("new-*"):
        shutil.rmtree(name)
    ran = subprocess.run(["bash", "-c", line], cwd=place, env=environment, capture_output=True, timeout=120)
    said = ran.stderr.decode(errors="replace")
    assert not any(words in said for words in ("Traceback", "Exception ignored", "Fatal Python")), said
    assert ran.returncode == codes or (isinstance(codes, tuple) and ran.returncode in codes), said
    assert sum(line.startswith("error: ") for line in said.splitlines()) <= 1


@pytest.mark.parametrize("arguments", [["search", "--\udcff\x1b[31m"], ["\udcff\x1b[2J"], ["report", "\udcff"]])
def test_bytes_that_are_no_text_are_shown(mee, arguments):
    ran = mee(*arguments)
    assert ran.returncode in (1, 2)
    assert r"\udcff" in ran.stderr
    assert "\x1b" not in ran.stderr
    assert "Traceback" not in ran.stderr
