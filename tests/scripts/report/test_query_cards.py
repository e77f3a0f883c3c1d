"""Query cards: what is written below the frames, and blanks."""

from scripts.report.entry import make_entries
from scripts.report.frames import Shot
from scripts.report.page import page
from scripts.report.query_cards import RIGHT_SHARES, SHOWN_ANSWERS, cards, wanted

URI = "data:image/webp;base64,AAAA"


def test_frames_have_a_text_of_their_own_and_blanks_a_reason(make_result, parse):
    result = make_result()
    moments = list(wanted(make_entries([result])[0]))
    shots = dict.fromkeys(moments, Shot(URI, 4.75))
    gone = [one for one in moments if one.clip_id == result.worst[0].right.clip_id]
    shots |= dict.fromkeys(gone, Shot(reason="file cannot be read"))
    root = parse(cards(result.worst[:1], shots, 3))
    images = root.all("img")
    assert len(images) == SHOWN_ANSWERS
    assert images[0].attributes["alt"] == f"Frame of {result.worst[0].top[0].clip_id} at 4.8 s"
    blanks = [node.text for node in root if node.attributes.get("class") == "blank"]
    assert blanks == ["no frame: file cannot be read"] * len(RIGHT_SHARES)
    assert "Right clip at rank 812 · query ret20" in root.text


def test_the_right_clip_is_marked_by_words(make_result, parse):
    root = parse(cards(make_result().best[:1], None, 3))
    first, second = root.all("ol")[0].children[:2]
    assert first.text.startswith("1. ✓ right video7010 score 0.610 0–9.5 s")
    assert "✓" not in second.text
    assert root.all("img") == []


def test_the_page_counts_frames_and_blanks(make_result, parse):
    entries = make_entries([make_result()])[0]
    moments = list(dict.fromkeys(wanted(entries)))
    shots = {one: Shot(URI, 1.0) if at else Shot(reason="gone") for at, one in enumerate(moments)}
    footer = parse(page(entries, shots)).all("footer")[0].text
    assert f"Frames shown: {len(moments) - 1}; not to be had: 1." in footer
    assert "no frames are shown" in parse(page(entries)).all("footer")[0].text


def test_an_expected_rank_keeps_its_half(make_result, parse):
    result = make_result(worst=500.5)
    assert "at rank 500.5 " in parse(cards(result.worst[:1], None, 3)).text


def test_a_paragraph_is_cut_in_the_heading_and_stands_whole_below(make_result, parse):
    paragraph = "a man walks on. " * 40
    result = make_result(captions=[paragraph.strip()])
    root = parse(cards(result.best[:1], None, 3))
    assert root.all("h3")[0].text.endswith("a man walks on. …")
    assert len(root.all("h3")[0].text) < 170
    assert root.all("details")[0].text == "All of the text" + paragraph.strip()


def test_a_query_without_answers_has_no_empty_list(make_result, parse):
    query = make_result().worst[0].model_copy(update={"top": ()})
    root = parse(cards([query], None, 3))
    assert root.all("ol") == []
    assert "first answers" not in root.text
