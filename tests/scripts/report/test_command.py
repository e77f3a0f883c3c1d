"""mee report as a user calls it, and its forms on a terminal and as Markdown."""

import html
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scripts.evaluate import main as evaluate
from scripts.report.command import main
from scripts.report.entry import make_entries
from scripts.report.page import markdown, safe
from scripts.report.terminal import print_report

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def test_tables_by_default_and_markdown_on_stdout(prints, write, tmp_path):
    out, err = prints(main, write("a.json"))
    assert "text to video" in out
    assert err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert "Given again, and counted once: 1 result." in prints(main, tmp_path / "a.json", write("b.json")).out
    out, err = prints(main, tmp_path / "a.json", "--markdown", "-")
    assert (out[:7], err) == ("# small", "")
    assert "\n| text to video | R@1 |" in out


def test_page_and_markdown(prints, write, tmp_path, parse):
    page, text = tmp_path / "page.html", tmp_path / "report.md"
    out, err = prints(main, write("a.json"), write("b.json", 1), "--out", page, "--markdown", text)
    assert out == ""
    assert "page.html: 0.1 MB" in err
    assert parse(page.read_text("utf-8")).all("h1")[0].text == "small on MSR-VTT, 1k-A test (JSFusion)"
    assert text.read_text("utf-8").startswith("# small on MSR")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json", "page.html", "report.md"]


def test_frames_from_a_folder(prints, write, media, tmp_path, parse):
    (tmp_path / "videos").mkdir()
    media.write(tmp_path / "videos" / "one.mp4", [media.plain(number) for number in range(5)])
    result, page = write("a.json", videos=["one.mp4", "gone.mp4"]), tmp_path / "page.html"
    assert "frames: 0 of 1 files" in prints(main, result, "--videos", tmp_path / "videos", "--out", page).err
    root = parse(page.read_text("utf-8"))
    assert root.all("img")
    assert "no frame: not in the folder of videos" in root.text


def test_what_cannot_be_done_is_one_sentence(fails, write, tmp_path):
    good, page, bad = write("a.json"), tmp_path / "page.html", tmp_path / "bad.json"
    bad.write_text('{"format": "mee-result", "version": 1}')
    for message, arguments in (
        ("no result file", (tmp_path / "gone.json",)),
        ("is not a result of mee evaluate", (bad,)),
        ("no result to report on", ()),
        ("--out report.html", (good, "--videos", tmp_path)),
        ("there is nothing at", (good, "--videos", tmp_path / "no", "--out", page)),
        ("a.json' looks like a result", (good, "--out", good)),
        ("b.json' looks like a result", (good, "--markdown", tmp_path / "b.json")),
        ("is a folder", (good, "--out", tmp_path)),
        ("there is no folder", (good, "--out", tmp_path / "no" / "x.html")),
        ("both name", (good, "--out", page, "--markdown", page)),
        ("--out is written as .html", (good, "--out", "-")),
        ("movie.mp4", (good, "--out", tmp_path / "movie.mp4")),
    ):
        assert message in fails(main, *arguments)
    assert not page.exists()


def test_a_report_without_a_page_loads_no_torch(mee, write):
    code = (
        f"import sys\nfrom scripts.report.command import main\nprint(main([{str(write('a.json'))!r}]))\n"
        "print([name for name in ('torch', 'pandas', 'cv2', 'av', 'matplotlib') if name in sys.modules])"
    )
    assert mee(code=code).stdout.endswith("0\n[]\n")


def test_from_a_store_and_a_model_to_a_page(prints, world, tmp_path, parse):
    """What mee evaluate writes is what mee report reads."""
    result, page = tmp_path / "result.json", tmp_path / "page.html"
    prints(evaluate, world.store, world.captions, world.model, "--result", result, "--ablation")
    prints(main, result, "--videos", world.videos, "--out", page)
    root = parse(page.read_text("utf-8"))
    links = [node.text for node in root.all("nav")[0].all("a")]
    assert {"Figures", "Recall", "Ranks", "How much each expert counts", "Without one stream"} <= set(links)
    assert root.all("img")
    assert "no frame" not in root.text
    assert "all streams" in prints(main, result).out


def test_one_result_shows_all_its_tables(make_result, capsys):
    choice = {"questions": 500, "accuracy": 71.3, "interval": [68.0, 74.5]}
    print_report(make_entries([make_result(changes={"choice": choice})])[0], ["a note"])
    out, figures = capsys.readouterr().out, make_result().text_to_video
    low, high = figures.intervals["R@1"]
    wanted = ("text to video", "video to text", "all streams", "without face", "renormalise", "a note")
    for words in (*wanted, "71.3", "68.0–74.5", "By available streams", f"{low:.1f}–{high:.1f}"):
        assert words in out
    row = next(line for line in out.splitlines() if line.startswith("small"))  # of the first table
    assert row.split()[1] == f"{figures.metrics['R@1']:.1f}"


EVIL = "a\x1b]0;x\x07\x9b31m\u202eb\u2066\u200b\u2028c\ufeff\U000e0041d\x7f\r[bold]\n:car:"
CHOICES = ("format", "version", "kind", "selected_on", "method", "missing")  # their words are given


def spoiled(value, key=""):
    """A result whose texts, and names of streams, files and metrics, are hostile."""
    if isinstance(value, str):
        return value if key in CHOICES else f"{value}{EVIL}"
    if isinstance(value, dict):
        free = key in ("files", "streams", "parameters", "metrics", "intervals")
        return {f"{name}{EVIL}" if free else name: spoiled(part, name) for name, part in value.items()}
    return [spoiled(part, key) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("form", [(), ("--markdown", "-"), ("--out", "page.html")])
def test_whatever_a_result_says_is_visible(make_result, prints, tmp_path, monkeypatch, form, several):
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "b.json"):
        content = spoiled(make_result(changes={"system.name": name}).model_dump(mode="json"))
        (tmp_path / name).write_text(json.dumps(content))
    out, err = prints(main, "a.json", *(["b.json"] if several else []), *form)
    page = (tmp_path / "page.html").read_text() if "--out" in form else ""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    assert {letter for letter in out + err + page if unicodedata.category(letter) in kinds} == {"\n"}
    escaped = r"\\x1b\]0;x" if "--markdown" in form else r"\x1b]0;x"
    assert (page or out).count(escaped) > 20


def test_names_of_two_million_letters_are_shortened(make_result, prints, tmp_path):
    (tmp_path / "long.json").write_text(make_result(changes={"system.name": "x" * 2_000_000}).model_dump_json())
    for form in ((), ("--markdown", "-"), ("--out", tmp_path / "page.html")):
        assert len(prints(main, tmp_path / "long.json", *form).out) < 500_000
    assert (tmp_path / "page.html").stat().st_size < 1_000_000


def test_shared_facts_are_printed_once(make_result, capsys):
    results = [make_result(seed, changes={"system.name": f"model {'ab'[seed]}"}) for seed in (0, 1)]
    print_report(make_entries(results)[0])
    out = capsys.readouterr().out
    assert out.count("expected rank") == 1
    assert "Seed: 0 (model a); 1 (model b)" in out


def shown(markup):
    """The text that a reader sees; mentions have an invisible character."""
    return html.unescape(re.sub(r"<[^>]*>", "", GITHUB.render(markup))).replace("@\u200b", "@").strip()


def test_tables_render_with_every_row_as_wide_as_its_head(make_result):
    entries, _ = make_entries([make_result(0), make_result(1), make_result(2, changes={"system.name": "x|y"})])
    rendered = GITHUB.render(markdown(entries))
    tables = rendered.split("<table>")[1:]
    assert len(tables) == 4 + 2 * 7  # figures and differences both ways; seven tables of each entry
    for table in tables:
        rows = table.partition("<tbody>")[2].split("<tr>")[1:]
        assert {row.count("<td") for row in rows} == {len(re.findall(r"<th[ >]", table))}
    assert "x|y" in rendered
    assert "± " in rendered


@given(st.text(max_size=60))
def test_text_from_files_stays_text(text):
    rendered = GITHUB.render(f"| a | b |\n| --- | --- |\n| {safe(text)} | end |\n")
    assert rendered.count("<td") == 2
    cell = rendered.partition("<tbody>")[2].partition("<td>")[2].partition("</td>")[0]
    assert "<" not in cell
    assert set(re.findall(r"<(\w+)", GITHUB.render(f"a\n\n{safe(text)}\n"))) <= {"p"}


MARKUP = ["# no heading", "- no list", "12. no list", "[no](link)", "<b>no</b>", "`no`", "a *b* _c_ ~~d~~"]
MARKUP += ["&lt;", "\\|", "---", "see https://a.example or www.b.example"]
MARKUP += ["https://a.example www.b.example", "thanks @someone", "R@1"]


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_shown_as_it_is(text):
    assert shown(safe(text)) == text
    assert not re.search(r"https?:|www\.|@someone", safe(text))
    assert ("R@1" in safe(text)) == ("R@1" in text)
