"""Text from outside is visible wherever it is shown: no control, bidirectional or zero-width character."""

import json
import logging
import shutil
import unicodedata
import warnings

import pytest

from scripts.build_index import main as build_index
from scripts.console import counting_bar, prepare_process
from scripts.evaluate import main as evaluate
from scripts.explain import main as explain
from scripts.gallery import main as gallery
from scripts.import_features import main as import_features
from scripts.overlap import main as overlap
from scripts.precompute import main as precompute
from scripts.report.command import main as report
from scripts.search import main as search
from scripts.store import main as store
from scripts.tokens import main as tokens
from scripts.train import main as train

EVIL = "a\x1b]0;x\x07\x9b31m\u202eb\u2066\u200b\u2028c\ufeff\U000e0041d\x7f\r\u3164e"


def unseen(text):
    """Letters that control a terminal, or that nobody sees."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {letter for letter in text if unicodedata.category(letter) in kinds or letter == "\u3164"} - {"\n"}


@pytest.fixture
def says_cleanly(world, tmp_path, capsys):
    """Run a command in the world, with EVIL in its words; returns its exit code, stdout and stderr."""

    def run(main, *words):
        places = {name: str(getattr(world, name)) for name in ("videos", "captions", "store", "model", "index")}
        words = [str(places.get(str(word), word)).replace("TMP", str(tmp_path)) for word in words]
        capsys.readouterr()
        try:
            code = main([word.replace("EVIL", EVIL) for word in words])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert unseen(out + err) <= ({"\x7f"} if "--json" in words else set())  # JSON may hold it
        return code, out, err

    return run


ERRORS = [
    (search, "EVIL", "a"),
    (search, "index", "a", "--only", "EVIL"),
    (search, "index", "a", "--weights", "EVIL=1"),
    (search, "index", "a", "--weights", "EVIL"),
    (search, "index", "a", "--where", "EVIL"),
    (search, "index", "a", "--where", 'clip_id == "EVIL'),
    (search, "index", "--like", "EVIL"),
    (search, "index", "a", "--also", "0*EVIL"),
    (search, "index", "a", "--top", "EVIL"),
    (search, "index", "a", "--EVIL"),
    (search, "index", "a", "--model", "EVIL"),
    (store, "EVIL"),
    (store, "list", "EVIL"),
    (store, "export", "store", "EVIL"),
    (store, "export", "store", "EVIL.npz", "--streams", "EVIL"),
    (store, "merge", "TMP", "EVIL"),
    (gallery, "list", "EVIL"),
    (gallery, "remove", "index", "--clips", "EVIL"),
    (gallery, "list", "index", "--where", "EVIL == 1"),
    (gallery, "verify", "EVIL"),
    (import_features, "EVIL", "a=EVIL.npy"),
    (import_features, "TMP", "EVIL=a.npy"),
    (import_features, "TMP", "a=EVIL.npy", "--ids", "EVIL"),
    (evaluate, "store", "captions", "EVIL"),
    (evaluate, "store", "captions", "model", "--protocol", "EVIL"),
    (evaluate, "store", "captions", "model", "--result", "EVIL"),
    (evaluate, "captions", "--scores", "EVIL"),
    (train, "store", "captions", "TMP/m", "--streams", "EVIL"),
    (train, "store", "captions", "TMP/m", "--expert", "EVIL:max"),
    (train, "store", "captions", "TMP/m", "--pooling", "EVIL"),
    (train, "store", "captions", "TMP/m", "--text.encoder", "EVIL/EVIL"),
    (train, "store", "EVIL.csv", "TMP/m"),
    (build_index, "store", "EVIL", "TMP/i"),
    (build_index, "store", "model", "TMP/i", "--metadata", "EVIL.csv"),
    (precompute, "EVIL", "TMP/s"),
    (precompute, "videos", "TMP/s", "--streams", "EVIL"),
    (precompute, "videos", "TMP/s", "--streams", "a=EVIL"),
    (precompute, "videos", "TMP/s", "--streams", "a=TMP:EVIL=EVIL"),
    (precompute, "videos", "TMP/s", "--shard", "EVIL"),
    (overlap, "videos", "EVIL"),
    (overlap, "EVIL", "captions"),
    (overlap, "store", "captions", "--by", "EVIL"),
    (overlap, "videos", "captions", "--out", "EVIL"),
    (report, "EVIL"),
    (report, "EVIL", "--out", "EVIL"),
    (explain, "EVIL", "a"),
    (explain, "model", "a", "--available", "EVIL"),
    (explain, "model", "--sentences", "EVIL"),
    (tokens, "EVIL", "--merge", "EVIL"),
    (tokens, "EVIL", "--model", "EVIL"),
    (tokens, "EVIL", "--out", "EVIL"),
]


@pytest.mark.parametrize("words", ERRORS, ids=lambda words: " ".join(map(str, words[1:])))
def test_errors_show_hostile_words(says_cleanly, words):
    code, _, err = says_cleanly(*words)
    assert code in (1, 2)
    assert r"\x1b" in err


def test_a_hostile_sentence_is_answered(says_cleanly):
    code, out, _ = says_cleanly(search, "index", "EVIL", "--top", "1")
    assert code == 0
    assert r"a\x1b]0;x\x07\x9b31m\u202eb" in out


def test_hostile_names_of_videos(world, says_cleanly, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    evil = EVIL.replace("\r", "")  # a table ends its lines there
    for name in (evil, f"{evil}2"):
        shutil.copy(world.videos / "clip1.mp4", videos / f"{name}.mp4")
    (videos / f"{evil}.png").write_text("no picture")
    code, out, _ = says_cleanly(precompute, videos, "TMP/s", "--streams", "audio", "--workers", "1")
    assert (code, r"\x1b" in out) == (3, True)
    for flag in ("--clips", "--failed"):
        code, out, _ = says_cleanly(store, "list", "TMP/s", flag)
        assert (code, r"\u202e" in out) == (0, True)
        code, out, _ = says_cleanly(store, "list", "TMP/s", flag, "--json")
        assert evil in json.loads(out.splitlines()[0])["video"]
        assert out.isascii()
    for side, name in (("train", evil), ("test", f"{evil}2")):
        (tmp_path / f"{side}.csv").write_text(f'video_id\n"{name}.mp4"\n', encoding="utf-8", newline="")
    sides = ("--train", "TMP/train.csv", "--test", "TMP/test.csv")
    code, out, _ = says_cleanly(overlap, videos, *sides, "--workers", "1")
    assert (code, out.count(r"\u202e")) == (0, 2)


def test_library_warnings_logs_and_progress_are_visible(monkeypatch, capsys, caplog):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr("sys.stdin", None)
    before = logging.getLogRecordFactory()
    try:
        prepare_process()
        prepare_process()
        formatted = warnings.formatwarning(EVIL, UserWarning, f"{EVIL}.py", 1)
        record = logging.getLogger("library").makeRecord("library", 30, EVIL, 1, "two\nlines %s", (EVIL,), None)
    finally:
        logging.setLogRecordFactory(before)
    assert formatted.count(r"\x1b") == 2
    assert unseen(formatted) == set()
    assert unseen(record.getMessage()) == set()
    assert record.getMessage().startswith("two\nlines a\\x1b")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with counting_bar("import", "clips") as update:
        update(1, 2, f"import: {EVIL}[red]", EVIL)
    err = capsys.readouterr().err
    assert EVIL not in err
