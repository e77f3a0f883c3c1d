"""One word of a command line, and the table of extractors, ours and third parties', from which it names one."""

import copy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.extractors.pretrained.checkpoint import LITE, ONNX
from features.extractors.registry import EXTRACTORS, PRESETS, known_extractors, make_extractor, resolve
from features.extractors.spec import Checkpoint, ExtractorSpec, MergeSchedule, RunConfig, limited, parse_spec

HUB = st.from_regex(r"[a-z0-9]{1,8}/[a-z0-9._-]{1,12}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
REVISIONS = st.from_regex(r"[a-z0-9/]{1,12}", fullmatch=True)
OPTIONS = st.dictionaries(
    st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.from_regex(r"[a-z0-9.:]{1,8}", fullmatch=True), max_size=3
)


WORDS = {
    "appearance": ("appearance",),
    "dino=facebook/dinov2-base@v1.0": ("dino", "facebook/dinov2-base", "v1.0"),
    "clip=a/b@refs/pr/3:fps=1": ("clip", "a/b", "refs/pr/3", {"fps": "1"}),
    "x=a/b:output=class,merge=13:falling": ("x", "a/b", None, {"output": "class", "merge": "13:falling"}),
    "face=opencv/a@1+opencv/b@2": ("face", "opencv/a@1+opencv/b@2"),
    "face=./yunet.onnx+./sface.onnx": ("face", "./yunet.onnx+./sface.onnx"),
}


@pytest.mark.parametrize("word", WORDS)
def test_words(word):
    spec = ExtractorSpec(*WORDS[word])
    assert parse_spec(word) == spec
    assert copy.deepcopy(spec) == spec  # as it is pickled for workers
    assert hash(spec) == hash(parse_spec(word))


@given(NAMES, HUB, st.none() | REVISIONS, OPTIONS)
def test_the_text_of_a_spec_is_parsed_to_the_same_spec(stream, source, revision, options):
    spec = ExtractorSpec(stream, source, revision, options)
    assert parse_spec(str(spec)) == spec


def test_a_directory_with_an_at_or_a_plus_in_its_name_is_not_split(tmp_path):
    for name in ("model@home", "a+b"):
        place = tmp_path / name
        place.mkdir()
        assert parse_spec(f"x={place}:fps=3") == ExtractorSpec("x", str(place), None, {"fps": "3"})


def test_malformed_words(says_all):
    words = ["", "=a/b", "my stream=a/b", "appearance:fps=3", "../evil=a/b", "x=", "x=:fps=3", "x=a/b@"]
    says_all(parse_spec, [*words, "x=a/b:fps=3,,", "x=a/b:fps=", "x=a/b:fps=3,fps=4", "x=a/b:fps=3,wide"])


def test_merge_schedules_and_run_configs():
    # At most half of the tokens that are not protected.
    for text, layers, tokens, wanted in (
        ("8", 3, 197, [8, 8, 8]),
        ("0", 3, 197, [0, 0, 0]),
        ("0.066", 2, 1214, [80, 80]),
        ("0.067", 2, 1568, [105, 105]),
        ("0.29", 1, 100, [29]),  # in floats, 28.999999999999996
        ("13:falling", 5, 197, [26, 19, 13, 6, 0]),
        ("0.1:falling", 3, 197, [38, 19, 0]),
        ("13:falling", 1, 197, [13]),
    ):
        assert MergeSchedule.parse(text).wanted(layers, tokens) == wanted
    assert MergeSchedule.parse("16").per_layer(12, 197, 1) == [16] * 11 + [10]
    assert MergeSchedule.parse("30").per_layer(4, 7, 5) == [1, 0, 0, 0]
    assert limited([3, 3], 1, 2) == [0, 0]
    texts = {"08": "8", " 8 ": "8", ".10": "0.1", "0.100:falling": "0.1:falling", "0:falling": "0", "0.0": "0"}
    assert {text: str(MergeSchedule.parse(text)) for text in texts} == texts
    assert [RunConfig(merge=merge).merge for merge in (None, "0", "0.1", "13:falling")][-1] == "13:falling"
    for settings, message in (({"batch_size": 0}, "batch-size"), ({"merge": "lots"}, "merge 'lots'")):
        with pytest.raises(ValueError, match=message):
            RunConfig(**settings)
    for text in ("", "eight", "-3", "1.5", "1.0", "8:rising", "8:", "8:falling:falling", "1e2", "٣"):
        with pytest.raises(ValueError, match=f"merge '{text}' is neither a number"):
            MergeSchedule.parse(text)
    for amount, share in ((-1, False), (Fraction(1, 2), False), (1, True), (Fraction(3, 2), True)):
        with pytest.raises(ValueError, match="a whole number, or a share of the tokens below 1"):
            MergeSchedule(Fraction(amount), share=share)


@given(
    number=st.integers(0, 10**6 - 1) | st.decimals(0, 1, places=4).filter(lambda share: 0 < share < 1),
    falling=st.booleans(),
    tokens=st.integers(1, 2000),
    layers=st.integers(1, 30),
)
def test_the_text_of_a_schedule_is_parsed_to_the_same_schedule(number, falling, tokens, layers):
    schedule = MergeSchedule.parse(f"{number}:falling" if falling else str(number))
    again = MergeSchedule.parse(str(schedule))
    assert again.wanted(layers, tokens) == schedule.wanted(layers, tokens)
    assert str(again) == str(schedule)
    assert schedule.merges is (number > 0)


@given(r=st.integers(0, 300), layers=st.integers(2, 30), tokens=st.integers(1, 2000))
def test_falling_ends_at_none_and_merges_as_many_in_all(r, layers, tokens):
    counts = MergeSchedule.parse(f"{r}:falling").wanted(layers, tokens)
    assert (counts[0], counts[-1]) == (2 * r, 0)
    assert counts == sorted(counts, reverse=True)
    assert r * layers - layers < sum(counts) <= r * layers


@given(
    amount=st.integers(0, 100), layers=st.integers(1, 20), free=st.integers(1, 300), protected=st.integers(0, 6)
)
def test_a_token_always_remains(amount, layers, free, protected):
    merged = MergeSchedule.parse(str(amount)).per_layer(layers, free + protected, protected)
    assert free > sum(merged)
    assert all(0 <= count <= amount for count in merged)


ROOT = Path(__file__).parents[3]
DIGESTS = {"appearance": "6529b3f97dc9", "motion": "50e2a8500d0e", "audio": "9513266a8450", "face": "00784cb55420"}


def test_a_third_party_adds_one_and_cannot_replace_ours_whose_fingerprints_match_existing_stores(odd_extractors):
    assert make_extractor("odd").dim == 3
    assert known_extractors()["appearance"] == EXTRACTORS["appearance"]
    assert {name: make_extractor(name).fingerprint.digest for name in EXTRACTORS} == DIGESTS


def test_what_cannot_be_made(odd_extractors, tmp_path, says_all):
    folder = tmp_path / "model"
    folder.mkdir()

    def make(case):
        if case[1] is not None:
            (folder / "config.json").write_text(case[1])
        make_extractor(case[0])

    names = ("smell", "not_there", "no_extractor", "incomplete", "misnamed", "a stream", "x=./nowhere")
    cases = [(name, None) for name in names]
    says_all(make, [*cases, *((f"x={folder}", text) for text in (None, '{"model_type": "bert"}', "{}", "["))])


def number(cell):
    return 0.0 if cell == "-" else float(cell.replace(",", ""))


def test_specs_are_resolved_once_and_presets_name_what_exists_and_are_in_the_docs(monkeypatch):
    found = (Checkpoint("owner/model", Path("/nowhere"), "0" * 40),)
    spec = ExtractorSpec("x", "owner/model", checkpoints=found)
    assert resolve(spec) is spec
    calls, find = [], "features.extractors.pretrained.checkpoint._find"
    monkeypatch.setattr(find, lambda *what: calls.append(what) or what[0])
    assert resolve("face=opencv/yunet@1+opencv/sface").checkpoints == ("opencv/yunet", "opencv/sface")
    resolve("face=here.onnx+there.onnx@2")
    places = [("opencv/yunet", "1"), ("opencv/sface", None), ("here.onnx", None), ("there.onnx", "2")]
    assert calls == [(source, tag, ONNX) for source, tag in places]
    assert list(PRESETS) == ["builtin", "offline", "clip", "strong"]
    assert PRESETS["builtin"].words == tuple(EXTRACTORS)
    table = (ROOT / "docs" / "features.md").read_text().partition("| preset |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    for name, preset in PRESETS.items():
        *parts, whole = ([stream, *cells] for of, stream, *cells in rows if of == name)
        specs = list(map(parse_spec, preset.words))
        assert tuple(map(str, specs)) == preset.words
        assert [part[0] for part in parts] == [*EXTRACTORS, *["text"] * (name == "offline")]
        for spec, (stream, made_by, licence, _, size, volume) in zip(specs, parts, strict=True):
            assert (stream, made_by.partition(": ")[2]) == (spec.stream, spec.source or "")
            assert licence
            assert "nc" not in licence.lower()  # licences allow use
            if spec.source is None:
                assert (spec.stream in known_extractors(), size, volume) == (True, "-", "-")
            elif spec.source != LITE:
                assert all(model.count("/") == 1 for model in spec.source.split("+"))
                assert number(volume) >= 4 * number(size)  # 32 bits a parameter, and often a text tower
        assert whole[:2] == ["all", preset.purpose]
        finds = " and ".join(dict.fromkeys(part[3] for part in parts if part[3] != "-"))
        sizes, volumes = (sum(number(part[at]) for part in parts) for at in (4, 5))
        assert (whole[3], number(whole[4])) == (finds or "-", pytest.approx(sizes))
        assert preset.megabytes == number(whole[5]) == volumes
    heavy = "{'torch', 'transformers', 'cv2', 'numpy'}"
    program = f"import sys, features.extractors.registry; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
