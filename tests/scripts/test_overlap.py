"""mee overlap as a user runs it: on files, on a store, and with what can be wrong."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest

from scripts.overlap import main


def shot(seed, size=(128, 96)):
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.uniform(30, 255, (8, 8, 3)), size, interpolation=cv2.INTER_CUBIC)
    return picture.clip(30, 255).astype(np.uint8)


def said(capsys, *words, code=1):
    """What an unsuccessful run says on stderr, in a line."""
    try:
        returned = main([str(word) for word in words])
    except SystemExit as wrong_usage:
        returned = wrong_usage.code
    out, err = capsys.readouterr()
    assert returned == code
    assert out == ""
    return " ".join(err.replace("│", " ").split())


@pytest.fixture
def lists(tmp_path):
    """lists(train, test): the flags that name two lists of these videos."""

    def write(train, test):
        for name, videos in (("train", train), ("test", test)):
            (tmp_path / f"{name}.txt").write_text("\n".join(videos))
        return ["--train", str(tmp_path / "train.txt"), "--test", str(tmp_path / "test.txt")]

    return write


@pytest.fixture(scope="session")
def videos(media, tmp_path_factory):
    """Six training videos of three shots; for test a small, boxed part of one, a copy of one, and two others."""
    place = tmp_path_factory.mktemp("overlap")
    folder = place / "videos"
    (folder / "train").mkdir(parents=True)
    (folder / "test").mkdir()
    for number in range(6):
        frames = [shot(10 * number + second) for second in range(3) for _ in range(10)]
        media.write(folder / "train" / f"v{number}.mp4", frames)
        if number == 2:
            small = [cv2.resize(frame, (80, 60), interpolation=cv2.INTER_AREA) for frame in frames[8:]]
            boxed = [np.pad(frame, ((10, 10), (0, 0), (0, 0))) for frame in small]
            media.write(folder / "test" / "part.mp4", boxed, options={"crf": "30"})
    shutil.copy(folder / "train" / "v4.mp4", folder / "test" / "copy.mp4")
    for number in (7, 8):
        media.write(folder / "test" / f"own{number}.mp4", [shot(100 * number)] * 15)
    captions = ["video_id,caption,split"]
    captions += [f"{path.parent.name}/{path.stem},x,{path.parent.name}" for path in sorted(folder.rglob("*.mp4"))]
    (place / "captions.csv").write_text("\n".join(captions) + "\n")
    return place


def test_a_table_and_a_sentence(videos, capsys):
    assert main([str(videos / "videos"), str(videos / "captions.csv"), "--workers=2"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[1][:3] == ["train/v4.mp4", "test/copy.mp4", "same"]
    assert lines[2][:3] == ["train/v2.mp4", "test/part.mp4", "alike"]
    assert int(lines[2][3]) <= 32
    assert "2 of 4 test videos have a near-duplicate among 6 training videos: 2 of 24 pairs" in out
    assert err == ""


def test_json_lines_and_files(videos, capsys, tmp_path):
    for out in ("pairs.csv", "pairs.parquet"):
        words = [videos / "videos", videos / "captions.csv", "--json", "--workers=1", "--out", tmp_path / out]
        assert main([str(word) for word in words]) == 0
        printed, err = capsys.readouterr()
        rows = [json.loads(line) for line in printed.splitlines()]
        assert [(row["train_video"], row["test_video"], row["why"]) for row in rows] == [
            ("train/v4.mp4", "test/copy.mp4", "same file"),
            ("train/v2.mp4", "test/part.mp4", "alike"),
        ]
        assert rows[0]["bits"] == 0
        assert rows[1]["train_s"] - rows[1]["test_s"] == pytest.approx(0.5, abs=0.51)  # it was cut 0.8 s
        assert "2 of 4 test videos" in err
        table = pd.read_csv(tmp_path / out) if out.endswith("csv") else pd.read_parquet(tmp_path / out)
        assert table.to_dict("records") == rows


def test_nothing_is_found(videos, lists, capsys, tmp_path):
    words = [str(videos / "videos"), *lists(["train/v0", "train/v1"], ["test/own7"]), "--workers=1"]
    assert main([*words, "--out", str(tmp_path / "none.csv")]) == 0
    assert capsys.readouterr().out.startswith("0 of 1 test videos have a near-duplicate among 2 training videos")
    assert (tmp_path / "none.csv").read_text() == "train_video,test_video,why,bits,train_s,test_s\n"


def test_files_that_cannot_be_read_are_listed(videos, capsys, tmp_path):
    folder = tmp_path / "videos"
    shutil.copytree(videos / "videos", folder)
    (folder / "test" / "own7.mp4").write_bytes(b"this is no video")
    assert main([str(folder), str(videos / "captions.csv"), "--workers=1", "--json"]) == 3
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "test/own7.mp4: not a video: its content is of no known media format" in err
    assert "1 video has nothing to compare but name and content" in err


def test_videos_that_are_not_there(videos, store, lists, capsys):
    words = [str(videos / "videos"), *lists(["train/v0", "v99"], ["test/own7"]), "--workers=1"]
    assert f"1 of 2 training videos are not usable in '{videos / 'videos'}': 'v99'." in said(capsys, *words)
    assert main([*words, "--partial"]) == 0
    assert "partial: left out 1 missing training videos" in capsys.readouterr().err
    message = said(capsys, store / "store", *lists(["v0", "nobody"], ["w0"]), "--by", "sight")
    assert f"1 of 2 training videos are not usable in {store / 'store'}: 'nobody'. See mee store list" in message


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Sixty imported clips; w1 is nearly v3."""
    from scripts.import_features import main as import_features

    place = tmp_path_factory.mktemp("overlap_store")
    rows = np.random.default_rng(0).normal(size=(60, 4, 16)).astype(np.float32)
    rows[41] = rows[3] + 0.02
    names = [f"v{number}" for number in range(40)] + [f"w{number}" for number in range(20)]
    np.savez(place / "sight.npz", stream=rows)
    (place / "ids.txt").write_text("\n".join(names) + "\n")
    words = [place / "store", f"sight={place / 'sight.npz'}", "--ids", place / "ids.txt", "--name", "seen"]
    assert import_features([str(word) for word in words]) == 0
    split = ["video_id,caption,split", *(f"{name},x,{'train' if name[0] == 'v' else 'test'}" for name in names)]
    (place / "captions.csv").write_text("\n".join(split) + "\n")
    return place


def test_by_a_stream(store, capsys):
    words = [str(store / "store"), str(store / "captions.csv"), "--by", "sight"]
    capsys.readouterr()
    assert main([*words, "--threshold=0.99", "--json"]) == 0
    out, err = capsys.readouterr()
    (row,) = map(json.loads, out.splitlines())
    assert (row["train_video"], row["test_video"], row["why"]) == ("v3", "w1", "alike")
    assert row["similarity"] > 0.99
    assert "1 of 20 test videos have a near-duplicate among 40 training videos: 1 of 800 pairs" in err
    assert "has no digest of some files" in err
    assert main([*words, "--threshold=-1", "--nearest=2"]) == 0
    out, err = capsys.readouterr()
    assert "800 of 800 pairs ('sight' at least -1 similar)" in out
    assert "760 further pairs are not listed: see --nearest" in err
    assert len(out.splitlines()) == 1 + 40 + 1 + 1


def test_files_of_equal_content_in_a_store(videos, tmp_path, capsys):
    from scripts.precompute import main as precompute

    precompute([str(videos / "videos"), str(tmp_path / "store"), "--streams", "motion", "--workers=1"])
    capsys.readouterr()
    words = [tmp_path / "store", videos / "captions.csv", "--by", "motion", "--threshold=1", "--json"]
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    (row,) = map(json.loads, out.splitlines())
    assert (row["train_video"], row["test_video"], row["why"]) == ("train/v4.mp4", "test/copy.mp4", "same file")
    assert "has no digest" not in err
    assert "only 10 clips are compared" in err


def test_stores_and_folders_are_not_taken_for_each_other(store, videos, capsys):
    captions = store / "captions.csv"
    assert "is a feature store, which holds no frames" in said(capsys, store / "store", captions)
    assert said(capsys, videos / "videos", captions, "--by", "sight").startswith("error: no feature store at ")
    assert "has no stream 'sound'; it has sight" in said(capsys, store / "store", captions, "--by", "sound")


def test_an_out_file_is_refused_before_the_work(videos, capsys, tmp_path):
    words = (videos / "videos", videos / "captions.csv", "--out")
    assert "--out pairs.xlsx" in said(capsys, *words, "pairs.xlsx")
    there = tmp_path / "there.csv"
    there.write_text("mine")
    assert f"'{there}' exists already" in said(capsys, *words, there)
    assert there.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *((words, "name ANNOTATIONS, or both") for words in ("a", "a --train x", "a b --train x --test y")),
        ("a --train x --test y --protocol msvd", "--protocol and --train-list go with ANNOTATIONS"),
        ("a b --train-list 9k", "--train-list goes with --protocol NAME"),
        ("a b --fps 0", "fps must be above 0"),
        ("a b --share 0", "share must be above 0"),
        ("a b --nearest 0", "nearest must be at least 1"),
        ("a b --workers 0", "workers must be at least 1"),
        ("a b --threshold 2.5", "threshold counts whole bits"),
        ("a b --threshold inf", "threshold counts whole bits"),
    ],
)
def test_wrong_usage(capsys, words, message):
    assert message in said(capsys, *words.split(), code=2)


def test_help_imports_nothing_heavy(pytestconfig):
    code = (
        "import sys\nfrom scripts.overlap import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*({'torch', 'pandas', 'cv2', 'av', 'numpy'} & sys.modules.keys()))"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=pytestconfig.rootpath, capture_output=True, text=True, check=True)
    assert "VIDEOS|STORE" in done.stdout
    assert done.stdout.splitlines()[-1] == ""
