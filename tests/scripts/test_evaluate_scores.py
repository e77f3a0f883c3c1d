"""`mee evaluate ANNOTATIONS --scores FILE`: other systems under the same rule."""

import json

import numpy as np
import pytest

from scripts.evaluate import main

VIDEOS, ALL = ("a.mp4", "b.mp4", "c.mp4"), ("1", "2", "3", "4", "5", "6")


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.csv"
    rows = [f"{video},{word} {video},test" for video in VIDEOS for word in ("a dog in", "rain on")]
    path.write_text("video_id,caption,split\n" + "\n".join(rows) + "\nx.mp4,training,train\n")
    return path


@pytest.fixture
def save(tmp_path):
    def run(name, scores, query_ids, clip_ids=VIDEOS):
        np.savez(tmp_path / name, scores=np.asarray(scores, np.float32), query_ids=query_ids, clip_ids=clip_ids)
        return tmp_path / name

    return run


@pytest.fixture
def scores(save):
    """A matrix that ranks all right but the last caption."""
    matrix = np.repeat(np.eye(3), 2, axis=0)
    matrix[5] = [0.9, 0.1, 0.5]
    return save("theirs.npz", matrix, ALL)


@pytest.fixture
def evaluate(captions, scores, prints):
    return lambda *extra: prints(main, captions, "--scores", scores, *extra)


def test_the_same_report(evaluate, tmp_path):
    out, err = evaluate("--json", "--result", tmp_path / "r.json", "--seed", 3)
    result = json.loads(out)
    assert result["text_to_video"]["metrics"]["R@1"] == pytest.approx(100 * 5 / 6)
    assert result["text_to_video"]["metrics"]["MeanR"] == pytest.approx(7 / 6)
    assert result["video_to_text"]["metrics"]["R@1"] == 100
    assert [result["system"][name] for name in ("name", "kind", "seed")] == ["theirs", "scores", 3]
    assert "sha256:" in result["system"]["files"]["scores"]
    assert result["worst"][0]["caption"] == "rain on c.mp4"
    assert "--trained-on" in err
    assert "6 queries (every caption), 3 clips" in evaluate()[0]


def test_what_it_was_trained_on_is_checked(evaluate, captions, scores, tmp_path, fails):
    (tmp_path / "ids.txt").write_text("x.mp4\ny.mp4\n")
    out, err = evaluate("--json", "--trained-on", tmp_path / "ids.txt")
    assert json.loads(out)["system"]["trained_on"].startswith("2 videos")
    assert err == ""
    (tmp_path / "ids.txt").write_text("x.mp4\nb.mp4\n")
    said = fails(main, captions, "--scores", scores, "--trained-on", tmp_path / "ids.txt")
    assert "1 of the 3 test videos" in said
    assert "b.mp4" in said


def test_a_bank_of_another_score_file(evaluate, save):
    bank = save("bank.npz", [[0.8, 0.1, 0.1]], ["t1"])
    result = json.loads(evaluate("--json", "--normalise.method", "nnn", "--bank", bank).out)
    assert result["text_to_video"]["metrics"]["R@1"] == 100  # the hub a.mp4 is taken back: 0.9 - 0.6 < 0.5 - 0.075
    assert result["rules"]["normalisation"]["parameters"] == {"neighbours": 1, "alpha": 0.75}


def test_scores_that_cannot_be_used(captions, scores, save, fails):
    assert "--partial" in fails(main, captions, "--scores", save("other.npz", np.eye(3), ["1", "2", "3"]))
    assert "nan" in fails(main, captions, "--scores", save("other.npz", np.full((6, 3), np.nan), ALL))
    assert "needs a bank" in fails(main, captions, "--scores", scores, "--normalise.method", "qb-norm")
    bank = save("bank.npz", np.ones((1, 2)), ["t"], VIDEOS[:2])
    assert "'c.mp4'" in fails(main, captions, "--scores", scores, "--normalise.method", "nnn", "--bank", bank)
    captions.write_text("video_id,caption,split\nx.mp4,training,train\n")
    assert "no caption" in fails(main, captions, "--scores", scores)


def test_partial_records_what_was_left_out(captions, save, json_lines):
    few = save("few.npz", np.eye(3), ["1", "3", "5"])
    (result,) = json_lines(main, captions, "--scores", few, "--partial")
    assert result["protocol"]["partial"] is True
    assert result["protocol"]["queries"] == 3
    assert "3 queries of the protocol were not scored" in result["protocol"]["missing"][0]
