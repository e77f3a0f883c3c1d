"""`mee evaluate --protocol lsmdc-mc`: five sentences a clip, and the accuracy of the best-scored one."""

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
def arguments(tmp_path_factory):
    """A store whose clips show one colour each, questions about five clips, and a model that knows the colours."""
    place = tmp_path_factory.mktemp("choice")
    rng = np.random.default_rng(0)
    shown = np.arange(60) % 5
    np.save(place / "sight.npy", (3 * np.eye(5)[shown] + 0.1 * rng.normal(size=(60, 5))).astype(np.float32))
    (place / "ids.txt").write_text("\n".join(CLIPS) + "\n")
    store, captions, model = (str(place / name) for name in ("store", "captions.csv", "model"))
    assert import_features([store, f"sight={place / 'sight.npy'}", "--ids", str(place / "ids.txt")]) == 0
    rows = [f"{CLIPS[n]},something {WORDS[shown[n]]},{'train' if n < 50 else 'val'}" for n in range(55)]
    (place / "captions.csv").write_text("video_id,caption,split\n" + "\n".join(rows) + "\n")
    assert train([store, captions, model, *SMALL, *RATE]) == 0
    (place / "mc").mkdir()
    lines = []
    for n in range(55, 60):
        sentences = [f"something {WORDS[(shown[n] + k) % 5]}" for k in (2, 1, 0, 3, 4)]
        lines.append("\t".join([CLIPS[n].partition("/")[2], "0", "1", "0", "1", *sentences, "3"]))
    (place / "mc" / "LSMDC16_multiple_choice_test_randomized.csv").write_text("\n".join(lines) + "\n")
    return [store, str(place / "mc"), model, "--protocol", "lsmdc-mc"]


def test_the_right_sentence_is_chosen(arguments, prints, json_lines):
    (result,) = json_lines(main, *arguments, "--partial")
    assert result["choice"]["questions"] == 5
    assert result["choice"]["accuracy"] == 100  # 20 by chance
    assert result["text_to_video"] is None
    assert result["protocol"]["partial"] is True
    assert "10,053" in result["protocol"]["missing"][0]
    assert "accuracy" in prints(main, *arguments, "--partial").out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((), "10,053"),
        (("--partial", "--ablation"), "ranks nothing"),
        (("--partial", "--normalise.method", "nnn"), "ranks nothing"),
        (("--partial", "--ranks", "r.csv"), "ranks nothing"),
    ],
)
def test_what_is_refused(arguments, fails, extra, message):
    assert message in fails(main, *arguments, *extra, alone=False)
