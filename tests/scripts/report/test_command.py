"""mee report as a user calls it."""

import pytest

from scripts.evaluate import main as evaluate
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
    assert "Given again, and counted once: 1 result." in report(tmp_path / "a.json", write("b.json")).out


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


def test_what_cannot_be_done_is_one_sentence(fails, write, tmp_path):
    good, page = write("a.json"), tmp_path / "page.html"
    bad = tmp_path / "bad.json"
    bad.write_text('{"format": "mee-result", "version": 2}')
    cases = {
        "no result file": (tmp_path / "gone.json",),
        "is not a result of mee evaluate": (bad,),
        "no result to report on": (),
        "--out report.html": (good, "--videos", tmp_path),
        "there is nothing at": (good, "--videos", tmp_path / "no", "--out", page),
        "a.json' looks like a result": (good, "--out", good),
        "b.json' looks like a result": (good, "--markdown", tmp_path / "b.json"),
        "is a folder": (good, "--out", tmp_path),
        "there is no folder": (good, "--out", tmp_path / "no" / "x.html"),
        "both name": (good, "--out", page, "--markdown", page),
        "'-' is not a name": (good, "--out", "-"),
        "movie.mp4": (good, "--out", tmp_path / "movie.mp4"),
    }
    for words, arguments in cases.items():
        assert words in fails(main, *arguments)
    assert not page.exists()


def test_a_report_without_a_page_loads_no_torch(mee, write):
    code = (
        f"import sys\nfrom scripts.report.command import main\nprint(main([{str(write('a.json'))!r}]))\n"
        "print([name for name in ('torch', 'pandas', 'cv2', 'av', 'matplotlib') if name in sys.modules])"
    )
    assert mee(code=code).stdout.endswith("0\n[]\n")


def test_from_a_store_and_a_model_to_a_page(report, world, tmp_path, parse):
    """What mee evaluate writes is what mee report reads."""
    result, page = tmp_path / "result.json", tmp_path / "page.html"
    arguments = (world.store, world.captions, world.model, "--result", result, "--ablation")
    assert evaluate([str(argument) for argument in arguments]) == 0
    report(result, "--videos", world.videos, "--out", page)
    root = parse(page.read_text("utf-8"))
    links = [node.text for node in root.all("nav")[0].all("a")]
    assert {"Figures", "Recall", "Ranks", "How much each expert counts", "Without one stream"} <= set(links)
    assert root.all("img")
    assert "no frame" not in root.text
    assert "all streams" in report(result).out
