"""`mee evaluate ANNOTATIONS --scores FILE`: other systems under the same rule."""

import json

import numpy as np
import pytest

from scripts.evaluate import main

VIDEOS = ("a.mp4", "b.mp4", "c.mp4")


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.csv"
    rows = [f"{video},{word} {video},test" for video in VIDEOS for word in ("a dog in", "rain on")]
    path.write_text("video_id,caption,split\n" + "\n".join(rows) + "\nx.mp4,training,train\n")
    return path


@pytest.fixture
def scores(tmp_path):
    """A matrix that ranks all right but the last caption."""
    matrix = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)
    matrix[5] = [0.9, 0.1, 0.5]
    path = tmp_path / "theirs.npz"
    np.savez(path, scores=matrix, query_ids=[str(n) for n in range(1, 7)], clip_ids=VIDEOS)
    return path


@pytest.fixture
def evaluate(captions, scores, capsys):
    def run(*extra):
        assert main([str(captions), "--scores", str(scores), *map(str, extra)]) == 0
        return capsys.readouterr()

    return run


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


def test_a_bank_of_another_score_file(evaluate, tmp_path):
    bank = tmp_path / "bank.npz"
    np.savez(bank, scores=np.array([[0.8, 0.1, 0.1]], np.float32), query_ids=["t1"], clip_ids=VIDEOS)
    result = json.loads(evaluate("--json", "--normalise.method", "nnn", "--bank", bank)[0])
    assert result["text_to_video"]["metrics"]["R@1"] == 100  # the hub a.mp4 is taken back: 0.9 - 0.6 < 0.5 - 0.075
    assert result["rules"]["normalisation"]["parameters"] == {"neighbours": 1, "alpha": 0.75}


def test_what_does_not_fit_is_one_sentence(captions, scores, tmp_path, fails):
    other = tmp_path / "other.npz"
    np.savez(other, scores=np.eye(3, dtype=np.float32), query_ids=["1", "2", "3"], clip_ids=VIDEOS)
    assert "--partial" in fails(main, captions, "--scores", other)
    np.savez(other, scores=np.full((6, 3), np.nan), query_ids=[str(n) for n in range(1, 7)], clip_ids=VIDEOS)
    assert "nan" in fails(main, captions, "--scores", other)
    assert "needs a bank" in fails(main, captions, "--scores", scores, "--normalise.method", "qb-norm")
    np.savez(other, scores=np.ones((1, 2), np.float32), query_ids=["t"], clip_ids=["a.mp4", "b.mp4"])
    said = fails(main, captions, "--scores", scores, "--normalise.method", "nnn", "--bank", other)
    assert "'c.mp4'" in said


def test_partial_says_what_was_left_out(captions, scores, tmp_path, capsys):
    few = tmp_path / "few.npz"
    np.savez(few, scores=np.eye(3, dtype=np.float32), query_ids=["1", "3", "5"], clip_ids=VIDEOS)
    assert main([str(captions), "--scores", str(few), "--partial", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["protocol"]["partial"] is True
    assert result["protocol"]["queries"] == 3
    assert "3 queries of the protocol were not scored" in result["protocol"]["missing"][0]


def test_a_test_split_without_captions(scores, tmp_path, fails):
    path = tmp_path / "train.csv"
    path.write_text("video_id,caption,split\nx.mp4,training,train\n")
    assert "no caption" in fails(main, path, "--scores", scores)
