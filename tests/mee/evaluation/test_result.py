"""Results as files: what is written is read, and nothing else is."""

import json
import os
from contextlib import nullcontext
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mee.errors import InputError
from mee.evaluation import result as results
from mee.files import whole_file
from tests.mee.conftest import refusal

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


def whole_result(number=1.0, text="a", figures=None):
    """Every part of a result, with something in every field."""
    figures = {"R@1": number} if figures is None else figures
    direction = results.Direction(
        queries=2,
        candidates=3,
        metrics=figures,
        intervals={"R@1": (number, number)},
        recall=((1, number), (3, 100)),
        histogram=(("1", 1), ("2", 0), ("3", 1)),
        ranks=((1.0, 2.5),),
    )
    answer = results.Answer(clip_id=text, video=text, start_s=0, end_s=number, score=number)
    query = results.Query(query_id="1", caption=text, rank=1.5, right=answer, top=(answer, answer))
    row = results.Row(name=text, text_to_video=figures, video_to_text=figures)
    made = {"mee": "0.1", "torch": "2", "python": "3", "device": "cpu", "command": text, "at": "now"}
    system = {"name": text, "kind": "model", "seed": 3, "checkpoint": "ab"}
    protocol = {"name": "folder", "title": text, "split": "test", "query_rule": "every caption", "partial": True}
    protocol |= dict.fromkeys(("missing", "left_out", "without_stream"), (text,))
    return results.Result(
        made=results.Made(**made, seconds=number),
        system=results.System(**system, files={"scores": text}, modalities=(text,), missing="evidence"),
        protocol=results.ProtocolFacts(**protocol, queries=2, gallery=3, streams={text: 3}, files={text: text}),
        rules=results.Rules(normalisation=results.Normalisation(method="nnn", bank=text, parameters=figures)),
        text_to_video=direction,
        video_to_text=direction,
        choice=results.Choice(questions=2, accuracy=number, interval=(number, number)),
        schemes=(row,),
        removed=(row, row),
        patterns=(results.Pattern(streams=(text,), clips=3, queries=2, text_to_video=figures),),
        weights=results.Weights(experts=(text,), rows=((text, 2, (number,)),)),
        best=(query,),
        worst=(query,),
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "result.json"


@given(number=NUMBER, text=TEXT, figures=st.dictionaries(st.text(), NUMBER, max_size=4))
def test_what_is_written_is_read_to_the_last_digit(tmp_path_factory, number, text, figures):
    path = tmp_path_factory.mktemp("results") / "result.json"
    whole = whole_result(number, text, figures)
    needed = {"made": whole.made, "system": whole.system, "protocol": whole.protocol, "rules": results.Rules()}
    for result in (whole, results.Result(**needed)):
        results.write_result(result, path)
        assert results.read_result(path) == result
        assert list(path.parent.iterdir()) == [path]


def test_the_file_is_json_that_names_its_format_and_every_key_is_documented(path):
    results.write_result(whole_result(text="été"), path)
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    assert (content["format"], content["version"]) == ("mee-result", results.VERSION)
    assert list(content) == list(results.Result.model_fields)
    assert text.endswith("\n")
    assert "été" in text
    assert "[1.0, 2.5]\n" in text  # a line, however many
    assert all(f'"{name}"' in results.__doc__ for name in results.Result.model_fields)


def changed(change):
    """A result's file, changed so."""
    content = json.loads(whole_result().model_dump_json())
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (changed(lambda c: c.update(version=1)), "version: it is 1"),
        (changed(lambda c: c.update(format="other")), "format"),
        (changed(lambda c: c.update(new=3)), "new"),
        (changed(lambda c: c.pop("version")), "the file: it lacks version"),
        (changed(lambda c: [c.pop("schemes"), c.pop("weights")]), "the file: it lacks schemes, weights"),
        (changed(lambda c: c["protocol"].pop("partial")), "protocol: it lacks partial"),
        (changed(lambda c: c["best"][0]["right"].pop("score")), "best.0.right.score"),
        (changed(lambda c: c["protocol"].update(queries="2")), "protocol.queries"),
        (changed(lambda c: c["protocol"].update(queries=2.0)), "protocol.queries"),
        (changed(lambda c: c["protocol"].update(partial="no")), "protocol.partial"),
        (changed(lambda c: c["system"].update(kind="both")), "system.kind"),
        (changed(lambda c: c["text_to_video"]["metrics"].update({"R@1": nan})), "text_to_video.metrics.R@1"),
        (changed(lambda c: c["text_to_video"]["intervals"].update(a=[0, inf])), "text_to_video.intervals.a.1"),
        (changed(lambda c: c["weights"]["rows"][0][2].append(nan)), "weights.rows.0.2.1"),
        (changed(lambda c: c["text_to_video"].update(ranks=[[1, 0.5]])), "text_to_video.ranks.0.1"),
        (changed(lambda c: c["text_to_video"].update(ranks=[[1, nan]])), "text_to_video.ranks.0.1"),
        (changed(lambda c: c["text_to_video"].update(ranks=[[1, 2], []])), "text_to_video.ranks.1"),
        *((content, "the file: ") for content in (b"[]", b"null", b"\xff\xfe", b"query_id,rank\n1,1\n")),
        *((changed(lambda c: None)[: share * 100], "the file: Invalid JSON") for share in range(10)),
    ],
)
def test_another_file_is_refused_with_the_place(path, content, place):
    path.write_bytes(content)
    said = refusal(results.read_result, path)
    assert said.startswith(f"'{path}' is not a result of mee evaluate, version {results.VERSION}: {place}")
    assert "\n" not in said


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_numbers_that_are_not_finite_are_never_written(bad):
    for make in (
        lambda: whole_result(number=bad),
        lambda: whole_result(figures={"R@1": bad}),
        lambda: results.Direction(queries=1, candidates=1, metrics={}, recall=((1, bad),)),
        lambda: results.Weights(experts=("a",), rows=(("all queries", 1, (bad,)),)),
    ):
        with pytest.raises(ValidationError, match="finite number"):
            make()


def test_a_file_is_replaced_or_stays_as_it_was_and_places_are_named(path, tmp_path):
    with pytest.raises(InputError, match=r"^no result file at '.*'; make one: mee evaluate"):
        results.read_result(path)
    for number in (1.0, 2.0):
        results.write_result(whole_result(number), path)
    with pytest.raises(InputError, match="a name is no text that UTF-8 knows"):
        results.write_result(whole_result(text="a\udcff.mp4"), path)
    assert results.read_result(path) == whole_result(2.0)
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(InputError, match=r"^results cannot be written to '.*/no/result.json'"):
        results.write_result(whole_result(), tmp_path / "no" / "result.json")
    with pytest.raises(InputError, match=f"^'{tmp_path}' is a folder"):
        results.read_result(tmp_path)


# ---- files that are written whole, or not at all


def write(path, content, error=None):
    with whole_file(path, "ranks") as aside:
        assert aside.parent == path.parent
        aside.write_text(content, encoding="utf-8")
        if error:
            raise error


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_a_file_is_replaced_at_the_end_or_not_at_all(tmp_path, error):
    path = tmp_path / "ranks.csv"
    path.write_text("old")
    with path.open() as reader:
        with pytest.raises(error) if error else nullcontext():
            write(path, "new", error)
        assert reader.read() == "old"  # not written over: whoever reads meanwhile sees one or the other
    assert path.read_text() == ("old" if error else "new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_the_file_beside_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("dear to me")
    for target in (victim, tmp_path / "new"):
        (tmp_path / f".ranks.csv.{os.getpid()}").symlink_to(target)
        write(tmp_path / "ranks.csv", "ranks")
    assert victim.read_text() == "dear to me"
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "ranks.csv"}


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.touch()
    for path, content, reason in (
        (tmp_path / "no" / "ranks.csv", "new", "No such file or directory"),
        (folder, "new", "Is a directory"),
        (file / "ranks.csv", "new", "Not a directory"),
        (tmp_path / "ranks.csv", "clip\udcff", "a name is no text that UTF-8 knows"),
    ):
        assert refusal(write, path, content) == f"ranks cannot be written to '{path}': {reason}"
    with pytest.raises(InputError, match=r"ranks cannot be written to .*: the disk is gone"):
        write(tmp_path / "ranks.csv", "half", OSError("the disk is gone"))
    assert sorted(tmp_path.iterdir()) == [file, folder]
