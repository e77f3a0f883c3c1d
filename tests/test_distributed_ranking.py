"""Several processes rank as one does, to the last digit: ranks as such, and the whole of mee evaluate.

What the processes of the first test do stands in ranking_worker.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("ranking_worker.py")


def launch(count, *arguments):
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)] if count > 1 else []
    done = subprocess.run(
        [sys.executable, *together, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("count", [2, 3])
def test_ranks_are_those_of_one_process(tmp_path, count):
    for number in (1, count):
        (tmp_path / str(number)).mkdir()
        launch(number, WORKER, tmp_path / str(number))
    alone = load_file(tmp_path / "1" / "ranks.0.safetensors")
    assert (alone["closest/t2v/rank"] % 1 != 0).any()  # something ties
    together = sorted((tmp_path / str(count)).iterdir())
    assert len(together) == count
    for path in together:
        found = load_file(path)
        assert set(found) == set(alone)
        for name, tensor in alone.items():
            assert found[name].equal(tensor), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store of 300 clips with 2,100 captions, more than a batch of each, and a model trained on three clips."""
    from scripts.import_features import main as import_features
    from scripts.train import main as train

    place = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    ids = [f"v{number:03d}" for number in range(300)]
    (place / "ids.txt").write_text("\n".join(ids) + "\n")
    rows = rng.normal(size=(300, 6)).astype(np.float32)
    np.save(place / "sight.npy", rows)
    heard = rng.normal(size=(300, 4)).astype(np.float32)
    heard[::3] = np.nan
    np.save(place / "sound.npy", heard)
    words = ("red", "green", "blue", "dog", "cat", "rain", "drums", "song")
    lines = [
        f"{video},{' '.join(rng.choice(words, 4))} {n},{'test' if number < 297 else 'train'}"
        for number, video in enumerate(ids)
        for n in range(7)
    ]
    (place / "captions.csv").write_text("video_id,caption,split\n" + "\n".join(lines) + "\n")
    streams = [f"sight={place / 'sight.npy'}", f"sound={place / 'sound.npy'}"]
    assert (
        import_features([str(place / "store"), *streams, "--ids", str(place / "ids.txt"), "--nan-is-missing"]) == 0
    )
    small = ["--embed-dim=8", "--text.width=16", "--text.layers=1", "--text.heads=2", "--epochs=1"]
    assert train([str(place / "store"), str(place / "captions.csv"), str(place / "model"), *small]) == 0
    return place


def test_mee_evaluate_gives_the_same_result(trained):
    own = [trained / "store", trained / "captions.csv", trained / "model", "--json", "--ablation", "--device=cpu"]
    results = []
    for count in (1, 2, 3):
        (line,) = launch(count, "-m", "scripts.evaluate", *own).splitlines()
        result = json.loads(line)
        del result["made"]
        results.append(result)
    assert results[0]["protocol"]["queries"] == 297 * 7
    assert results[1] == results[0]
    assert results[2] == results[0]
