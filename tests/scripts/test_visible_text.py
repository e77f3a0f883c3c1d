"""Text from outside is visible wherever it is shown: no control, bidirectional or zero-width character."""

import json
import logging
import shlex
import shutil
import unicodedata
import warnings

import pytest

from scripts.cli import main
from scripts.console import counting_bar, prepare_process

EVIL = "a\x1b]0;x\x07\x9b31m\u202eb\u2066\u200b\u2028c\ufeff\U000e0041d\x7f\r\u3164e"


def unseen(text):
    """Letters that control a terminal, or that nobody sees."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {letter for letter in text if unicodedata.category(letter) in kinds or letter == "\u3164"} - {"\n"}


@pytest.fixture
def says_cleanly(world, tmp_path, capsys):
    """Run a command in the world, with EVIL in its words; returns its exit code, stdout and stderr."""

    def run(line):
        name, *words = shlex.split(line)
        places = {name: str(getattr(world, name)) for name in ("videos", "captions", "store", "model", "index")}
        words = [places.get(word, word).replace("TMP", str(tmp_path)).replace("EVIL", EVIL) for word in words]
        capsys.readouterr()
        try:
            code = main([name, *words])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert unseen(out + err) <= ({"\x7f"} if "--json" in words else set())  # JSON may hold it
        return code, out, err

    return run


ERRORS = {
    "search": "EVIL a; index a --only EVIL; index a --weights EVIL=1; index a --weights EVIL;"
    "index a --where 'clip_id == \"EVIL'; index --like EVIL; index a --also 0*EVIL; index a --top EVIL;"
    "index a --EVIL; index a --model EVIL; index a --where EVIL",
    "store": "EVIL; list EVIL; export store EVIL; export store EVIL.npz --streams EVIL; merge TMP EVIL",
    "gallery": "list EVIL; remove index --clips EVIL; list index --where 'EVIL == 1'; verify EVIL",
    "import": "EVIL a=EVIL.npy; TMP EVIL=a.npy; TMP a=EVIL.npy --ids EVIL",
    "evaluate": "store captions EVIL; store captions model --protocol EVIL; store captions model --result EVIL;"
    "captions --scores EVIL",
    "train": "store captions TMP/m --streams EVIL; store captions TMP/m --expert EVIL:max; store EVIL.csv TMP/m;"
    "store captions TMP/m --pooling EVIL; store captions TMP/m --text.encoder EVIL/EVIL",
    "index": "store EVIL TMP/i; store model TMP/i --metadata EVIL.csv",
    "precompute": "EVIL TMP/s; videos TMP/s --streams EVIL; videos TMP/s --streams a=EVIL;"
    "videos TMP/s --streams a=TMP:EVIL=EVIL; videos TMP/s --shard EVIL",
    "overlap": "videos EVIL; EVIL captions; store captions --by EVIL; videos captions --out EVIL",
    "report": "EVIL; EVIL --out EVIL",
    "explain": "EVIL a; model a --available EVIL; model --sentences EVIL",
    "tokens": "EVIL --merge EVIL; EVIL --model EVIL; EVIL --out EVIL",
}


@pytest.mark.parametrize("line", [f"{name} {words}" for name in ERRORS for words in ERRORS[name].split(";")])
def test_errors_show_hostile_words(says_cleanly, line):
    code, _, err = says_cleanly(line)
    assert code in (1, 2)
    assert r"\x1b" in err


def test_a_hostile_sentence_is_answered(says_cleanly):
    code, out, _ = says_cleanly("search index EVIL --top 1")
    assert code == 0
    assert r"a\x1b]0;x\x07\x9b31m\u202eb" in out


def test_hostile_names_of_videos(world, says_cleanly, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    evil = EVIL.replace("\r", "")  # a table ends its lines there
    for name in (evil, f"{evil}2"):
        shutil.copy(world.videos / "clip1.mp4", videos / f"{name}.mp4")
    (videos / f"{evil}.png").write_text("no picture")
    code, out, _ = says_cleanly("precompute TMP/videos TMP/s --streams audio --workers 1")
    assert (code, r"\x1b" in out) == (3, True)
    for flag in ("--clips", "--failed"):
        code, out, _ = says_cleanly(f"store list TMP/s {flag}")
        assert (code, r"\u202e" in out) == (0, True)
        code, out, _ = says_cleanly(f"store list TMP/s {flag} --json")
        assert evil in json.loads(out.splitlines()[0])["video"]
        assert out.isascii()
    for side, name in (("train", evil), ("test", f"{evil}2")):
        (tmp_path / f"{side}.csv").write_text(f'video_id\n"{name}.mp4"\n', encoding="utf-8", newline="")
    code, out, _ = says_cleanly("overlap TMP/videos --train TMP/train.csv --test TMP/test.csv --workers 1")
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
