"""A command that is killed or loses power: what it wrote is whole or absent, and on the disk when it ends.

`mee train` goes on to the same bits. A power cut leaves contents and entries of folders that were synced, and
nothing else (`Disk`).
"""

import os
import shutil
import stat
from pathlib import Path

import pytest

from scripts.cli import main as mee_command
from scripts.train import main
from tests.scripts.conftest import TINY


def tree(folder):
    """Relative path -> content; None of a folder."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def make(folder, content):
    folder.mkdir(parents=True)
    for name, data in content.items():
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)


class Disk:
    """Records what a folder holds at each sync, and what a power cut after it would leave."""

    def __init__(self, root, monkeypatch):
        self.root, self.real = root, os.fsync
        self.contents, self.entries, self.open = {}, {}, []
        self.killed, self.cut = [], []
        for path in (root, *root.rglob("*")):
            self.synced(path)
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, handle):
        self.killed.append(tree(self.root))
        self.real(handle)
        self.synced(Path(os.readlink(f"/proc/self/fd/{handle}")))
        self.cut.append(self.left(self.number(self.root)))

    def number(self, path):
        """Its inode, which stays open so that no other file gets its number."""
        self.open.append(os.open(path, os.O_PATH | os.O_NOFOLLOW))
        return os.fstat(self.open[-1]).st_ino

    def synced(self, path):
        if path.is_dir():
            self.entries[self.number(path)] = {
                entry.name: (self.number(entry), stat.S_ISDIR(entry.lstat().st_mode)) for entry in path.iterdir()
            }
        else:
            self.contents[self.number(path)] = path.read_bytes()

    def left(self, number, before=""):
        found = {}
        for name, (inode, is_folder) in sorted(self.entries.get(number, {}).items()):
            place = f"{before}{name}"
            found[place] = None if is_folder else self.contents.get(inode, b"")
            found |= self.left(inode, f"{place}/") if is_folder else {}
        return found

    def close(self):
        for handle in self.open:
            os.close(handle)


@pytest.fixture
def faults(world, tmp_path, monkeypatch, prints):
    """faults(kind, overwrite): the old model, the new one, and what a fault at each sync leaves."""

    def run(kind, overwrite):
        root = tmp_path / "root"
        root.mkdir()
        flags = ["--overwrite"] if overwrite else []
        if overwrite:
            prints(main, world.store, world.captions, root / "model", *TINY, "--epochs", "1")
        old = tree(root / "model")
        with monkeypatch.context() as patch:
            disk = Disk(root, patch)
            prints(main, world.store, world.captions, root / "model", *TINY, *flags)
        disk.close()
        assert [path.name for path in root.iterdir()] == ["model"]
        assert disk.cut[-1] == tree(root)  # in the end, all of it is on the disk
        states = {str(sorted(state.items())): state for state in getattr(disk, kind)}
        return old, tree(root / "model"), [*states.values()]

    return run


def below(state, name):
    """What a state holds of a folder; empty where there is none."""
    return {path.removeprefix(f"{name}/"): data for path, data in state.items() if path.startswith(f"{name}/")}


@pytest.mark.parametrize(("kind", "overwrite"), [("killed", False), ("cut", False), ("cut", True)])
def test_after_a_fault_the_same_command_makes_the_same_model(faults, world, tmp_path, prints, kind, overwrite):
    old, new, states = faults(kind, overwrite)
    assert new == tree(world.model)
    told = {"resumed": 0, "anew": 0, "was done": 0}
    for number, state in enumerate(states):
        place, model = tmp_path / str(number), below(state, "model")
        assert model in ({}, old, new)
        assert "model" not in state or model
        assert not overwrite or model or below(state, "model.training/model") == new  # never without any
        make(place, state)
        flags = ["--overwrite"] if overwrite else []
        done = model == new and not overwrite
        err = prints(main, world.store, world.captions, place / "model", *TINY, *flags, code=int(done)).err
        assert tree(place / "model") == new
        had = "model.training/state.safetensors" in state
        if done:
            told["was done"] += 1
            assert "there is a model at" in err
        else:
            assert [path.name for path in place.iterdir()] == ["model"]
            assert ("training starts anew" in err) == (overwrite and had)
            assert ("epoch 1 of 2" in err) == (overwrite or not had)
            told["anew" if overwrite else "resumed"] += had
        shutil.rmtree(place)
    assert told["anew" if overwrite else "resumed"]


OUTPUTS = {
    "result and ranks": "evaluate STORE CAPTIONS MODEL --result ROOT/r.json --ranks ROOT/ranks.csv",
    "ranks as parquet": "evaluate STORE CAPTIONS MODEL --ranks ROOT/ranks.parquet",
    "reports": "report RESULT --out ROOT/r.html --markdown ROOT/r.md",
    "pictures": "explain MODEL thing --out ROOT/new/pictures",
    "pairs": "overlap STORE CAPTIONS --by appearance --out ROOT/pairs.csv",
    "pairs as parquet": "overlap STORE CAPTIONS --by appearance --out ROOT/pairs.parquet",
}


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_what_a_command_wrote_is_on_the_disk_when_it_ends(world, tmp_path, monkeypatch, prints, outputs):
    root, result = tmp_path / "root", tmp_path / "result.json"
    root.mkdir()
    places = {"STORE": world.store, "CAPTIONS": world.captions, "MODEL": world.model, "RESULT": result}
    if "RESULT" in OUTPUTS[outputs]:
        prints(mee_command, "evaluate", world.store, world.captions, world.model, "--result", result)
    words = [str(places.get(word, word)).replace("ROOT", str(root)) for word in OUTPUTS[outputs].split()]
    with monkeypatch.context() as patch:
        disk = Disk(root, patch)
        prints(mee_command, *words)
    disk.close()
    expected = tree(root)
    assert expected
    assert disk.cut[-1] == expected
    for state in disk.cut:
        assert all(data == expected[name] for name, data in state.items())


KILLS = """
import os, signal, sys, time
import torch
import accelerate, features.store, mee.training.trainer, pandas, pyarrow.parquet, scripts.train
from pathlib import Path
from tests.scripts.test_faults import tree

torch.set_num_threads(1)
place, *argv = sys.argv[1:]


def go(name, epoch=None, after=0.0):
    log, child = Path(place, name + ".log"), os.fork()
    if child == 0:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os._exit(scripts.train.main([*argv[:2], str(Path(place, name, "model")), *argv[2:]]))
    if epoch is not None:
        sign = f"epoch {epoch} of" if epoch else "training on"
        while not (log.exists() and sign in log.read_text()):
            time.sleep(0.001)
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


assert go("whole") == 0
expected, resumed = tree(Path(place, "whole", "model")), 0
for point in range(20):
    name = f"point{point}"
    model, state = Path(place, name, "model"), Path(place, name, "model.training", "state.safetensors")
    go(name, point % 9, point // 9 * 0.03)
    assert tree(model) in ({}, expected), point
    had, done = state.exists(), model.exists()
    code = go(name)
    said = Path(place, name + ".log").read_text()
    assert code == done, said
    assert tree(model) == expected, point
    if had and not done:
        resumed += 1
        assert "epoch 1 of" not in said and not state.exists(), said
assert resumed > 8, resumed
"""


@pytest.mark.slow
def test_a_run_that_is_killed_at_twenty_moments_makes_the_same_model(world, mee, tmp_path):
    arguments = [tmp_path, world.store, world.captions, *TINY, "--epochs=8"]
    done = mee(*arguments, code=KILLS, env={"HF_HUB_OFFLINE": "1"}, timeout=600)
    assert done.returncode == 0, done.stderr
