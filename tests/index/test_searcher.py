"""From requests to hits, through a saved model and index."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from index import searcher as searcher_module
from index.request import Request
from index.searcher import Searcher
from index.storage.entries import Entries
from index.storage.manifest import Origin
from index.storage.writer import IndexWriter
from mee.checkpoint import fingerprint
from mee.data.source import load_ragged
from mee.encode import encode_captions, encode_gallery
from mee.errors import InputError
from tests.index.galleries import in_memory, loop_scores

CPU = torch.device("cpu")


def entries_of(model, source, **columns):
    """All clips, each with a number."""
    clips = source.clips.assign(number=range(len(source.clips)), **columns)
    return Entries.of(encode_gallery(model, source, list(clips.index)), clips, model.layout)


@pytest.fixture
def place(model, source, tmp_path):
    """A folder with a model and an index of the source's clips."""
    model.save_pretrained(tmp_path / "model")
    origin = Origin(str(tmp_path / "model"), fingerprint(tmp_path / "model"), "store")
    with IndexWriter.create(tmp_path / "index", model.layout, origin) as writer:
        writer.put(entries_of(model, source))
    return tmp_path


@pytest.fixture
def long_source(make_source):
    """Five videos of ten clips each."""
    return make_source([f"v{number}.mp4" for number in range(5)], clips_of_video=10, missing=0.4)


@pytest.fixture
def searcher(model, long_source):
    return Searcher(in_memory(entries_of(model, long_source), model.layout), model)


def found_by(searcher, sentence="a dog", **fields):
    """What one request finds."""
    return searcher.search([Request(sentence=sentence, **fields)])[0]


def ids(hits):
    return [hit.clip_id for hit in hits]


def scores_of(model, source, sentence, **fields):
    """Of every clip with one of the experts, by a loop over the equation."""
    gallery = encode_gallery(model, source, list(source.clips.index))
    scores = loop_scores(encode_captions(model, [sentence]), gallery, model.layout, **fields)[0]
    return {name: score for name, score in zip(gallery.clip_ids, scores.tolist()) if score > -np.inf}


def agrees(hits, scores):
    """Hits are the best of the scores, in their order."""
    order = sorted(scores, key=lambda name: (-scores[name], name))
    assert ids(hits) == order
    assert [hit.score for hit in hits] == pytest.approx([scores[name] for name in order], abs=1e-5)
    assert all(
        sum(s.contribution for s in hit.experts.values()) == pytest.approx(hit.score, abs=1e-5) for hit in hits
    )


def test_search_scores_as_the_model_does(model, source, place, sentences):
    names = list(source.clips.index)
    clips = {name: ragged.all() for name, ragged in load_ragged(source, model.modalities, names).items()}
    scores = model(sentences, clips)
    searcher = Searcher.load(place / "index", device=CPU)
    assert searcher.modalities == model.modalities
    for row, hits in zip(scores, searcher.search([Request(sentence=sentence, top=12) for sentence in sentences])):
        order = row.argsort(descending=True).tolist()
        assert ids(hits) == [names[number] for number in order]
        assert [hit.score for hit in hits] == pytest.approx(row[order].tolist(), abs=1e-5)
    once, again = searcher.search([Request(sentence="a dog"), Request(sentence="a dog")])
    assert once == again
    assert searcher.search([]) == []


def test_sentences_are_added_and_subtracted(searcher, model, long_source):
    hits = found_by(searcher, also=((0.5, "rain falls"), (-2.0, "drums")), top=1000)
    parts = [scores_of(model, long_source, sentence) for sentence in ("a dog", "rain falls", "drums")]
    agrees(hits, {name: (parts[0][name] + 0.5 * parts[1][name] - 2 * parts[2][name]) / 3.5 for name in parts[0]})


@pytest.mark.parametrize(
    ("fields", "used"),
    [
        ({"only": ("audio",)}, {"kept": [False, False, True]}),
        ({"only": ("audio", "appearance")}, {"kept": [True, False, True]}),
        ({"weights": {"audio": 3.0, "motion": 1.0}}, {"weights": [0.0, 1.0, 3.0]}),
    ],
)
def test_some_experts_and_the_users_weights(searcher, model, long_source, fields, used):
    agrees(found_by(searcher, top=1000, **fields), scores_of(model, long_source, "a dog", **used))


def test_more_like_a_clip_alone_and_with_a_sentence(searcher, model, long_source):
    wanted = long_source.clips.index[7]
    entries, slices = entries_of(model, long_source), searcher.video_index.layout.slices
    vectors = dict(zip(entries.table["clip_id"].to_pylist(), zip(entries.packed, entries.available)))
    packed, available = vectors.pop(wanted)
    scores = {}
    for clip_id, (other, there) in vectors.items():
        both = [slices[m] for m in np.flatnonzero(available & there)]
        if both:
            scores[clip_id] = float(np.mean([packed[part] @ other[part] for part in both]))
    agrees(found_by(searcher, None, like=wanted, top=1000), scores)
    spoken = {hit.clip_id: hit.score for hit in found_by(searcher, top=1000)}
    agrees(found_by(searcher, like=wanted, top=1000), {name: (scores[name] + spoken[name]) / 2 for name in scores})


def test_filters_and_videos(searcher, model, long_source):
    scores = scores_of(model, long_source, "a dog")
    table = long_source.clips
    number = {clip_id: place for place, clip_id in enumerate(table.index)}
    early = {name: score for name, score in scores.items() if number[name] >= 5 and table.start_s[name] < 30}
    agrees(found_by(searcher, where="number >= 5 and start_s < 30", top=1000), early)
    of_video = {name: score for name, score in early.items() if table.video[name] == "v2.mp4"}
    agrees(found_by(searcher, where="start_s < 30", video="v2.mp4"), of_video)
    assert found_by(searcher, where="duration > 999") == []
    assert found_by(searcher, where="duration > 999", by_video=True) == []


def videos_agree(found, names, video, top, moments):
    """Videos are those of clips that are listed from the best, each with its best moments."""
    order = list(dict.fromkeys(video[name] for name in names))[:top]
    best = [(each, [name for name in names if video[name] == each][:moments]) for each in order]
    assert [(one.video, ids(one.hits)) for one in found] == best


@pytest.mark.parametrize("where", [None, "start_s >= 20"])
def test_videos_by_their_best_moment(searcher, model, long_source, sentences, where):
    table = long_source.clips
    for sentence in sentences:
        scores = scores_of(model, long_source, sentence)
        names = [n for n in sorted(scores, key=lambda n: -scores[n]) if where is None or table.start_s[n] >= 20]
        found = found_by(searcher, sentence, where=where, by_video=True, top=3, moments=4)
        videos_agree(found, names, table.video, 3, 4)


def test_videos_where_offsets_count(model, long_source):
    entries = entries_of(model, long_source, offset=np.random.default_rng(0).normal(size=50) / 5)
    searcher = Searcher(in_memory(entries, model.layout, {"method": "nnn"}), model)
    full = found_by(searcher, top=1000)
    assert all(hit.offset for hit in full)
    score = {hit.clip_id: hit.score for hit in full}
    for where in (None, "start_s > 30"):
        left = [hit.clip_id for hit in full if where is None or hit.start_s > 30]
        found = found_by(searcher, where=where, by_video=True, top=5, moments=6)
        videos_agree(found, left, long_source.clips.video, 5, 6)
        assert all(hit.score == score[hit.clip_id] for one in found for hit in one.hits)
    requests = [Request(sentence="a dog", plain=plain, top=1000) for plain in (True, False)]
    without, with_them = searcher.search(requests)
    agrees(without, scores_of(model, long_source, "a dog"))
    assert with_them == full


def test_a_long_video_hides_no_other(model, long_source):
    """Forty clips of one video are better than the others' ten: more than the first search returns."""
    scores = scores_of(model, long_source, "a dog")
    names = sorted(scores, key=lambda name: (-scores[name], name))
    video = {name: "long" if place < 40 else f"v{place % 3}" for place, name in enumerate(names)}
    entries = entries_of(model, long_source, video=[video[name] for name in long_source.clips.index])
    found = found_by(Searcher(in_memory(entries, model.layout), model), by_video=True, top=3, moments=2)
    videos_agree(found, names, video, 3, 2)


def test_different_requests_together_find_what_each_finds_alone(searcher, long_source):
    clip = long_source.clips.index[3]
    requests = [
        Request(sentence="a dog"), Request(sentence="a dog", by_video=True, top=2),
        Request(sentence="a cat", also=((1.0, "a dog"), (0.5, "rain"))), Request(like=clip),
        Request(sentence="a dog", like=clip, only=tuple(long_source.dims)),
        Request(sentence="rain", where="number < 20"), Request(sentence="snow", where="number < 20"),
        Request(sentence="rain", exact=True, plain=True), Request(sentence="rain", weights={"audio": 1}),
        Request(also=((-2.0, "a cat"),), only=("audio",)),
    ]  # fmt: skip
    together, alone = searcher.search(requests), [searcher.search([request])[0] for request in requests]
    for left, right in zip(together, alone):
        assert len(left) == len(right) > 0
        for one, other in zip(left, right):
            assert getattr(one, "clip_id", one.video) == getattr(other, "clip_id", other.video)
            assert one.score == pytest.approx(other.score, abs=1e-5)


def test_names_that_are_not_there_are_refused(searcher, says):
    refused = []
    for fields in (
        {"only": ("audo",)}, {"weights": {"motoin": 1.0}}, {"like": "v1.mp4#t=0,1"}, {"video": "w1.mp4"},
        {"where": "numbr < 3"},
    ):  # fmt: skip
        request = Request(sentence="a dog", **fields)
        for refuse in (lambda one: searcher.search([one]), searcher.check):
            with pytest.raises(InputError) as caught:
                refuse(request)
            refused.append(str(caught.value))
        assert refused[-1] == refused[-2]
    says("\n".join(refused[::2]))


def test_clips_that_cannot_be_compared_are_refused(model, source, says):
    """The first clip has no stream, the second appearance alone; missing streams hold NaN."""
    entries = entries_of(model, source)
    entries.available[0], entries.available[1] = (False, False, False), (True, False, False)
    entries.packed[~np.repeat(entries.available, model.layout.sizes, axis=1)] = np.nan
    sparse = Searcher(in_memory(entries, model.layout), model)
    found, refused = found_by(sparse, None, like="v01.mp4", top=99), []
    assert found
    assert all("appearance" in hit.experts for hit in found)
    for fields in (
        {"sentence": None, "like": "v00.mp4"},
        {"like": "v01.mp4", "only": ("audio",)},
        {"like": "v01.mp4", "weights": {"audio": 1.0}},
    ):
        with pytest.raises(InputError, match=fields["like"]) as caught:
            found_by(sparse, **fields)
        refused.append(str(caught.value))
    says("\n".join(refused))


def test_requests_that_make_no_sense_are_refused(says):
    refused = []
    for fields in (
        {"sentence": None}, {"also": ((1.0, ""),)}, {"sentence": " "}, {"also": ((0.0, "a dog"),)},
        {"also": ((float("nan"), "a dog"),)}, {"also": ((1.0, "a cat"), (-1e308, "a dog"))},
        {"weights": {"audio": -1.0}}, {"weights": {"audio": float("inf")}}, {"weights": {"audio": 0.0}},
        {"weights": {"audio": 1.0}, "only": ("motion",)}, {"top": 0}, {"moments": 0},
        {"where": "duration + 1 < 3"},
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            Request(**{"sentence": "x", **fields})
        refused.append(str(caught.value))
    says("\n".join(refused))


def test_requests_are_ranked_together_where_they_differ_in_the_query_alone():
    base = Request(sentence="a dog")
    same = [{"also": ((1.0, "x"),)}, {"only": ("audio",)}, {"weights": {"audio": 1.0}}, {"sentence": "a cat"}]
    assert all(Request(**{"sentence": "a dog", **fields}).shared == base.shared for fields in same)
    other = [{"like": "a"}, {"where": "True"}, {"video": "a"}, {"top": 3}, {"by_video": True}, {"plain": True}]
    assert all(Request(sentence="a dog", **fields).shared != base.shared for fields in other)


def test_a_searcher_sees_what_a_writer_does_when_it_is_refreshed(place):
    searcher = Searcher.load(place / "index", device=CPU)
    gone = found_by(searcher, top=1)[0].clip_id
    assert searcher.refresh() is False
    with IndexWriter.open(place / "index") as writer:
        writer.remove([gone])
    assert gone in ids(found_by(searcher, top=99))
    assert searcher.refresh() is True
    assert gone not in ids(found_by(searcher, top=99))
    for fields in ({"like": gone}, {"video": gone}):
        with pytest.raises(InputError, match=gone):
            found_by(searcher, **fields)


def test_clips_and_videos_are_distinguished_where_segments_hold_replaced_and_removed_rows(place, model, source):
    with IndexWriter.open(place / "index") as writer:
        writer.remove([source.clips.index[0]])
        every = entries_of(model, source)
        writer.put(Entries(every.table.slice(0, 4), every.packed[:4], every.available[:4]))
    searcher = Searcher.load(place / "index", device=CPU)
    assert len(searcher.video_index.snapshot.segments) == 2
    for clip_id in source.clips.index[[0, 1, 7]]:
        assert ids(found_by(searcher, video=clip_id, where="number >= 0")) == [clip_id]
        assert clip_id not in ids(found_by(searcher, like=clip_id, top=99))
    found = found_by(searcher, by_video=True, top=11, moments=2)
    hits = found_by(searcher, top=99)
    assert [(one.video, len(one.hits)) for one in found] == [(hit.video, 1) for hit in hits[:11]]


def test_an_index_of_another_model_or_without_its_model_is_refused(place, model, source):
    searcher = Searcher.load(place / "index", device=CPU)
    elsewhere = shutil.copytree(place / "model", place / "far" / "model")
    shutil.rmtree(place / "model")
    assert len(found_by(Searcher.load(place / "index", device=CPU, model=elsewhere), top=3)) == 3
    for where, name in ((None, r"is not at .*--model"), (place / "nowhere", "nowhere")):
        with pytest.raises(InputError, match=name):
            Searcher.load(place / "index", device=CPU, model=where)
    model.mixture.bias.data.add_(1)
    model.save_pretrained(place / "model")
    with pytest.raises(InputError, match=r"is not the model .*--overwrite"):
        Searcher.load(place / "index", device=CPU)
    (place / "model" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors"):
        Searcher.load(place / "index", device=CPU)
    origin = Origin(str(place / "model"), "another", "store")
    with IndexWriter.create(place / "index", model.layout, origin, overwrite=True) as writer:
        writer.put(entries_of(model, source))
    with pytest.raises(InputError, match="made again with another model"):
        searcher.refresh()


@pytest.fixture
def load_with(place, model, monkeypatch):
    """Open an index that names such a model; None: it is refused, and nothing of a model is read."""
    read = []
    monkeypatch.setattr(searcher_module, "fingerprint", lambda folder: read.append(folder) or fingerprint(folder))

    def load(path, inode=None, made="", at="apart/index"):
        origin = Origin(str(path), fingerprint(place / "model"), "store", inode, str(made))
        IndexWriter.create(place / at, model.layout, origin, overwrite=True).close()
        read.clear()
        try:
            return Searcher.load(place / at, device=CPU)
        except InputError as error:
            return None if "--model" in str(error) and not read else read

    return load


def test_a_model_that_an_index_names_is_read_only_where_the_index_was_made_with_it(place, load_with):
    there, other = place / "other" / "model", place / "linked"
    shutil.copytree(place / "model", there)
    other.symlink_to(place / "model")
    os.mkfifo(place / "pipe")
    inode = there.stat().st_ino
    assert load_with(place / "model", at="index")  # beside the index, also of an index that does not know more
    assert load_with(there, inode)
    for path in (there, f"{place}/other/../model", other, place / "pipe", "/dev/zero", "/proc/self/cwd", "model"):
        for guess in (None, 0, inode + 1):
            assert load_with(path, guess) is None
    for path in ("\0", "a" * 9000, ""):
        assert load_with(path, inode) is None
        assert load_with(path, None, path) is None
    shutil.copytree(place / "model", place / ".hidden" / "model")
    for path, made in (("/model", "index"), ("/1/.hidden/model", "/1/2/index"), ("/model", "/1/2/3/index")):
        assert load_with(path, None, made) is None
    assert load_with("/model", None, "/1/index")  # as far from it as the one here


@pytest.mark.parametrize("names", [("model", "index"), ("models/m", "indexes/of/ix")], ids=str)
@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_project_is_moved(names, how, model, source, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    model.save_pretrained(old / names[0])
    place = (old / names[0]).resolve()
    origin = Origin(str(place), fingerprint(place), "store", place.stat().st_ino, str(old / names[1]))
    with IndexWriter.create(old / names[1], model.layout, origin) as writer:
        writer.put(entries_of(model, source))
    how(old, new)
    shutil.rmtree(old, ignore_errors=True)
    assert len(found_by(Searcher.load(new / names[1], device=CPU), top=3)) == 3
    model.mixture.bias.data.add_(1)
    model.save_pretrained(new / names[0])  # another one, there
    with pytest.raises(InputError, match="is not" if how is shutil.move else "--model"):
        Searcher.load(new / names[1], device=CPU)


def test_a_model_beside_the_index_is_found_by_its_content(place, model):
    shutil.copytree(place / "model", place / "renamed")
    (place / "broken").mkdir()
    (place / "broken" / "config.json").write_text("{")
    shutil.rmtree(place / "model")
    model.mixture.bias.data.add_(1)
    model.save_pretrained(place / "another")
    assert len(found_by(Searcher.load(place / "index", device=CPU), top=3)) == 3


def test_clips_and_videos_are_found_in_other_spellings(searcher, long_source):
    clip, video = "v1.mp4#t=10,20", "v1.mp4"
    for written in ("v1#t=10,20", "./v1.mkv#t=10.0,20.0", r"C:\\x\\V1.mp4#t=10,20"):
        assert ids(found_by(searcher, like=written, top=9)) == ids(found_by(searcher, like=clip, top=9))
    for written in ("v1", "a/b/v1.mov", "V1"):
        assert ids(found_by(searcher, video=written, top=9)) == ids(found_by(searcher, video=video, top=9))
    with pytest.raises(InputError, match=r"video 'v1' has 10 clips; name one, such as 'v1\.mp4#t="):
        searcher.explain(Request(sentence="a dog"), "v1")


@pytest.mark.parametrize("changes", [{"names": ("appearance",), "sizes": (6,)}, {"missing": "renormalise"}])
def test_an_index_of_another_layout_is_refused(model, changes):
    other = type("Other", (), {"layout": replace(model.layout, **changes)})
    with pytest.raises(ValueError, match="the model makes"):
        Searcher(other, model)


def test_an_index_opens_without_pandas(place):
    code = "from index import VideoIndex; VideoIndex.open(Path(sys.argv[1])); print('pandas' in sys.modules)"
    command = [sys.executable, "-c", f"import sys; from pathlib import Path; {code}", place / "index"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
