"""mee report as a user calls it."""

import sys

import pytest

from scripts.report.command import main


@pytest.fixture
def report(capsys):
    """Run it, and return what it printed."""

    def run(*arguments):
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr()

    return run


def test_a_table_by_default(report, write, tmp_path):
    out, err = report(write("a.json"))
    assert "text to video" in out
    assert err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_page_and_markdown(report, write, tmp_path, parse):
    page, text = tmp_path / "page.html", tmp_path / "report.md"
    out, err = report(write("a.json"), write("b.json", 1), "--out", page, "--markdown", text)
    assert out == ""
    assert "page.html: 0.1 MB" in err
    assert parse(page.read_text("utf-8")).all("h1")[0].text == "small on MSR-VTT, 1k-A test (JSFusion)"
    assert text.read_text("utf-8").startswith("# small on MSR")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json", "page.html", "report.md"]


def test_markdown_on_stdout_stands_alone(report, write):
    out, err = report(write("a.json"), "--markdown", "-")
    assert out.startswith("# small")
    assert err == ""
    assert "\n| text to video | R@1 |" in out


def test_frames_from_a_folder(report, write, media, tmp_path, parse):
    videos = tmp_path / "videos"
    videos.mkdir()
    media.write(videos / "one.mp4", [media.plain(number) for number in range(5)])
    result, page = write("a.json", videos=["one.mp4", "gone.mp4"]), tmp_path / "page.html"
    _, err = report(result, "--videos", videos, "--out", page)
    root = parse(page.read_text("utf-8"))
    assert "frames: 0 of 1 files" in err
    assert root.all("img")
    assert "no frame: not in the folder of videos" in root.text


def test_the_same_result_twice_is_told(report, write):
    out, _ = report(write("a.json"), write("b.json"))
    assert "Given again, and counted once: 1 result." in out


def test_what_cannot_be_done_is_one_sentence(fails, write, tmp_path):
    good = write("a.json")
    bad = tmp_path / "bad.json"
    bad.write_text('{"format": "mee-result", "version": 2}')
    page = tmp_path / "page.html"
    assert fails(main, tmp_path / "gone.json").startswith("no result file at")
    assert "is not a result of mee evaluate" in fails(main, bad)
    assert fails(main) == "no result to report on; name one: mee report result.json"
    assert fails(main, good, "--videos", tmp_path) == (
        "--videos gives the page its pictures; name the page too: --out report.html"
    )
    assert "there is nothing at" in fails(main, good, "--videos", tmp_path / "no", "--out", page)
    assert "would be overwritten" in fails(main, good, "--out", good)
    assert "would be overwritten" in fails(main, good, "--markdown", tmp_path / "b.json")
    assert "is a folder" in fails(main, good, "--out", tmp_path)
    assert "there is no folder" in fails(main, good, "--out", tmp_path / "no" / "x.html")
    assert "give each a file of its own" in fails(main, good, "--out", page, "--markdown", page)
    for name in ("-", tmp_path / "movie.mp4"):
        assert fails(main, good, "--out", name).startswith("--out writes a page, and ")
    assert not page.exists()


def test_help_is_light(mee):
    code = (
        "import sys\nfrom scripts.report.command import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: print('code', end.code)\n"
        "heavy = ('torch', 'transformers', 'pandas', 'numpy', 'cv2', 'av', 'matplotlib', 'pyarrow', 'h5py')\n"
        "print('loaded:', [name for name in heavy if name in sys.modules])"
    )
    ran = mee(code=code)
    assert ran.stdout.endswith("code 0\nloaded: []\n")
    assert "example:\n  mee report result.json" in ran.stdout
    assert ran.stderr == ""


def test_a_report_without_frames_loads_no_torch(mee, write):
    code = (
        f"import sys\nfrom scripts.report.command import main\nprint(main([{str(write('a.json'))!r}]))\n"
        "print([name for name in ('torch', 'pandas', 'cv2', 'av') if name in sys.modules])"
    )
    assert mee(code=code).stdout.endswith("0\n[]\n"), sys.executable
