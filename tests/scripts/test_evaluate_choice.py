"""`mee evaluate --protocol lsmdc-mc`: five sentences a clip, and the accuracy of the best-scored one."""

import json

import numpy as np
import pytest

from scripts.evaluate import main
from scripts.import_features import main as import_features
from scripts.train import main as train

WORDS = ("red", "green", "blue", "white", "black")
CLIPS = [f"1001_Film/1001_Film_00.{n:02d}.00.000-00.{n:02d}.01.000" for n in range(60)]
SMALL = ("--embed-dim=8", "--text.width=16", "--text.layers=1", "--text.heads=2", "--epochs=40", "--batch-size=10")
RATE = ("--learning-rate=1e-2", "--dropout=0", "--text.dropout=0")


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A store whose clips show one colour each, a model that has learnt the colours, and questions about five."""
    place = tmp_path_factory.mktemp("choice")
    rng = np.random.default_rng(0)
    shown = np.arange(60) % 5
    np.save(place / "sight.npy", (3 * np.eye(5)[shown] + 0.1 * rng.normal(size=(60, 5))).astype(np.float32))
    (place / "ids.txt").write_text("\n".join(CLIPS) + "\n")
    store = str(place / "store")
    assert import_features([store, f"sight={place / 'sight.npy'}", "--ids", str(place / "ids.txt")]) == 0
    rows = [f"{CLIPS[n]},something {WORDS[shown[n]]},{'train' if n < 50 else 'val'}" for n in range(55)]
    (place / "captions.csv").write_text("video_id,caption,split\n" + "\n".join(rows) + "\n")
    assert train([store, str(place / "captions.csv"), str(place / "model"), *SMALL, *RATE]) == 0
    (place / "mc").mkdir()
    lines = []
    for n in range(55, 60):
        clip = CLIPS[n].partition("/")[2]
        sentences = [f"something {WORDS[(shown[n] + k) % 5]}" for k in (2, 1, 0, 3, 4)]
        lines.append("\t".join([clip, "0", "1", "0", "1", *sentences, "3"]))
    (place / "mc" / "LSMDC16_multiple_choice_test_randomized.csv").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture
def arguments(colours):
    return [str(colours / name) for name in ("store", "mc", "model")] + ["--protocol", "lsmdc-mc"]


def test_the_right_sentence_is_chosen(colours, arguments, capsys):
    capsys.readouterr()
    assert main([*arguments, "--partial", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["choice"]["questions"] == 5
    assert result["choice"]["accuracy"] == 100  # 20 by chance
    assert result["text_to_video"] is None
    assert result["protocol"]["partial"] is True
    assert "10,053" in result["protocol"]["missing"][0]
    assert main([*arguments, "--partial"]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_the_whole_count_is_asked_for(arguments, fails):
    assert "10,053" in fails(main, *arguments)


@pytest.mark.parametrize("extra", [("--ablation",), ("--normalise.method", "nnn"), ("--ranks", "r.csv")])
def test_nothing_is_ranked(arguments, fails, extra):
    assert "ranks nothing" in fails(main, *arguments, "--partial", *extra, alone=False)
