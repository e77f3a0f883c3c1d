"""The index ranks as exact scoring does, and comes back from disk as it was saved."""

import json
import os
import shutil
from itertools import product

import faiss
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from index.video_index import Origin, VideoIndex
from mee.errors import InputError
from mee.gallery import Gallery
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding

LAYOUT = Layout(("appearance", "motion", "audio", "face"), (6, 3, 4, 2))
ORIGIN = Origin("/models/m", "0123456789ab", "/stores/s")
SEEDS = st.integers(0, 2**31)
DAMAGE = (
    *("truncated vectors", "foreign vectors", "vectors missing", "other vectors", "another metric"),
    *("truncated table", "table missing", "shorter table", "table without a column"),
    *("partition forgotten", "other layout", "other format", "a list"),
    *("format", "generation", "layout", "origin", "clips", "partitions"),  # left out of index.json
)


def packed_rows(count, generator):
    parts = [torch.randn(count, size, generator=generator) for size in LAYOUT.sizes]
    return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)


def random_gallery(count, seed=0, missing=0.3, first=0):
    """Ids in an order that is not alphabetical; NaN where a stream is missing."""
    generator = torch.Generator().manual_seed(seed)
    available = torch.rand(count, 4, generator=generator) >= missing
    available[torch.arange(count), torch.randint(4, (count,), generator=generator)] = True
    columns = torch.repeat_interleave(torch.arange(4), torch.tensor(LAYOUT.sizes))
    packed = packed_rows(count, generator).masked_fill(~available[:, columns], torch.nan)
    order = torch.randperm(count, generator=generator).tolist()
    return Gallery(tuple(f"c{first + number:05d}" for number in order), VideoEmbedding(packed, available), ())


def random_text(queries=4, seed=1, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return TextEmbedding(packed_rows(queries, generator), scale * torch.randn(queries, 4, generator=generator))


def clip_rows(gallery):
    """Sorted, so that rows of the table are not rows of the gallery."""
    ids = sorted(gallery.clip_ids)
    spans = {"video": [f"{i}.mp4" for i in ids], "start_s": [float(i[1:]) for i in ids], "end_s": 1e6}
    return pd.DataFrame(spans, index=pd.Index(ids, name="clip_id"))


def build(*galleries):
    video_index = VideoIndex(LAYOUT, ORIGIN)
    for gallery in galleries:
        video_index.add(gallery, clip_rows(gallery))
    return video_index


def exact_scores(text, gallery):
    """The equation in float64, one pair at a time over the experts."""
    t, logits = text.packed.double().numpy(), text.logits.double().numpy()
    x, available = gallery.video.packed.double().numpy(), gallery.video.available.numpy()
    masked = np.where(available[None], logits[:, None], -np.inf)
    weights = np.exp(masked - masked.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    scores = np.zeros(weights.shape[:2])
    for m, columns in enumerate(LAYOUT.slices):
        there = available[:, m]
        scores[:, there] += weights[:, there, m] * (t[:, columns] @ x[there][:, columns].T)
    return scores


def assert_exact(found, text, gallery, k):
    """Ids and scores are those of the best k; ids may differ only where scores are equal to 1e-5."""
    scores = exact_scores(text, gallery)
    row_of = {clip_id: row for row, clip_id in enumerate(gallery.clip_ids)}
    for query, hits in enumerate(found):
        best = np.sort(scores[query])[::-1][:k]
        assert len({hit.clip_id for hit in hits}) == len(hits) == len(best)
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
        np.testing.assert_allclose([scores[query, row_of[hit.clip_id]] for hit in hits], best, atol=1e-5)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


def as_plain(found):
    return [[hit.to_dict() for hit in hits] for hits in found]


@given(SEEDS, st.integers(1, 40), st.integers(1, 50), st.floats(0, 0.9), st.sampled_from([0.1, 3.0, 100.0]))
def test_the_best_k_equal_a_float64_loop_under_any_patterns(seed, count, k, missing, scale):
    gallery, text = random_gallery(count, seed, missing), random_text(3, seed, scale)
    assert_exact(build(gallery).search(text, k), text, gallery, k)


def test_every_pattern_at_once_with_extreme_logits():
    patterns = torch.tensor([p for p in product([False, True], repeat=4) if any(p)]).repeat(2, 1)
    generator = torch.Generator().manual_seed(0)
    columns = torch.repeat_interleave(torch.arange(4), torch.tensor(LAYOUT.sizes))
    packed = packed_rows(30, generator).masked_fill(~patterns[:, columns], torch.inf)
    gallery = Gallery(tuple(f"c{number:05d}" for number in range(30)), VideoEmbedding(packed, patterns), ())
    logits = torch.tensor(list(product([-100.0, 100.0], repeat=4)))
    text = TextEmbedding(packed_rows(16, generator), logits)
    video_index = build(gallery)
    assert len(video_index.partitions) == 15
    assert_exact(video_index.search(text, 30), text, gallery, 30)


def test_top_ten_of_5000_random_clips_equal_brute_force():
    gallery, text = random_gallery(5000), random_text(25)
    found = build(gallery).search(text, 10)
    assert_exact(found, text, gallery, 10)
    order = np.argsort(-exact_scores(text, gallery), axis=1)[:, :10]
    assert [[hit.clip_id for hit in hits] for hits in found] == [
        [gallery.clip_ids[g] for g in row] for row in order
    ]


def test_hits_say_where_they_are_and_their_parts_add_up_to_the_score():
    gallery, text = random_gallery(60), random_text()
    row_of = {clip_id: row for row, clip_id in enumerate(gallery.clip_ids)}
    for query, hits in enumerate(build(gallery).search(text, 20)):
        for hit in hits:
            row = row_of[hit.clip_id]
            assert (hit.video, hit.start_s, hit.end_s) == (f"{hit.clip_id}.mp4", float(hit.clip_id[1:]), 1e6)
            present = [n for n, there in zip(LAYOUT.names, gallery.video.available[row].tolist()) if there]
            assert list(hit.experts) == present
            assert sum(share.weight for share in hit.experts.values()) == pytest.approx(1)
            assert sum(share.contribution for share in hit.experts.values()) == pytest.approx(hit.score, abs=1e-6)
            for name, share in hit.experts.items():
                columns = LAYOUT.slices[LAYOUT.names.index(name)]
                inner = float(text.packed[query, columns] @ gallery.video.packed[row, columns])
                assert share.similarity == pytest.approx(inner, abs=1e-6)


@pytest.mark.parametrize("queries", [1, 30])  # faiss multiplies few and many queries in different ways
@pytest.mark.parametrize("k", [1, 2, 7, 40, 60])
def test_equal_scores_are_ranked_by_clip_id_also_at_the_last_place(k, queries):
    generator = torch.Generator().manual_seed(0)
    ids = [f"c{number:05d}" for number in torch.randperm(50, generator=generator).tolist()]
    packed = packed_rows(1, generator).expand(50, -1)
    gallery = Gallery(tuple(ids), VideoEmbedding(packed, torch.ones(50, 4, dtype=torch.bool)), ())
    for hits in build(gallery).search(random_text(queries), k):
        assert [hit.clip_id for hit in hits] == sorted(ids)[:k]


def test_the_order_of_adding_does_not_matter():
    parts = [random_gallery(20, seed, first=100 * seed) for seed in range(3)]
    text = random_text()
    assert as_plain(build(*parts).search(text, 25)) == as_plain(build(*parts[::-1]).search(text, 25))


def test_more_than_there_is_gives_all_and_less_than_one_is_refused():
    video_index = build(random_gallery(5))
    assert [len(hits) for hits in video_index.search(random_text(), 10**9)] == [5] * 4
    with pytest.raises(ValueError, match="k must be at least 1"):
        video_index.search(random_text(), 0)


def test_an_empty_index_finds_nothing_and_can_be_saved(tmp_path):
    video_index = VideoIndex(LAYOUT, ORIGIN)
    video_index.add(random_gallery(0), clip_rows(random_gallery(0)))
    video_index.save(tmp_path)
    for index in (video_index, VideoIndex.load(tmp_path)):
        assert index.search(random_text(), 3) == [[], [], [], []]
        assert len(index) == 0


@pytest.mark.parametrize("mapped", [True, False])
def test_a_loaded_index_answers_as_the_saved_one(tmp_path, mapped):
    video_index, text = build(random_gallery(80)), random_text()
    video_index.save(tmp_path / "index")
    loaded = VideoIndex.load(tmp_path / "index", mapped=mapped)
    assert (loaded.layout, loaded.origin, len(loaded)) == (LAYOUT, ORIGIN, 80)
    assert as_plain(loaded.search(text, 15)) == as_plain(video_index.search(text, 15))


def test_clips_can_be_added_to_a_loaded_index_and_saved_again(tmp_path):
    first, second, text = random_gallery(30), random_gallery(25, 5, first=100), random_text()
    build(first).save(tmp_path)
    grown = VideoIndex.load(tmp_path, mapped=False)
    grown.add(second, clip_rows(second))
    grown.add(random_gallery(0), clip_rows(random_gallery(0)))
    grown.save(tmp_path)
    for index in (grown, VideoIndex.load(tmp_path), VideoIndex.load(tmp_path, mapped=False)):
        assert as_plain(index.search(text, 40)) == as_plain(build(first, second).search(text, 40))


def test_a_known_clip_is_refused_and_nothing_is_added():
    video_index, gallery = build(random_gallery(10)), random_gallery(12, 3)
    before = as_plain(video_index.search(random_text(), 30))
    with pytest.raises(ValueError, match="10 clips are in the index already, 'c00000' among them"):
        video_index.add(gallery, clip_rows(gallery))
    assert as_plain(video_index.search(random_text(), 30)) == before


def test_a_mapped_index_cannot_be_added_to(tmp_path):
    build(random_gallery(10)).save(tmp_path)
    gallery = random_gallery(5, first=100)
    with pytest.raises(ValueError, match="memory-mapped"):
        VideoIndex.load(tmp_path).add(gallery, clip_rows(gallery))


def test_files_of_an_old_generation_go_and_foreign_files_stay(tmp_path):
    video_index = build(random_gallery(40))
    video_index.save(tmp_path)
    old = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "notes.txt").touch()
    (tmp_path / "mine.faiss").touch()
    video_index.save(tmp_path)
    new = {path.name for path in tmp_path.iterdir()}
    assert old & new == {"index.json"}
    assert new - old == {"notes.txt", "mine.faiss"} | {name.replace("-000001", "-000002") for name in old - new}


def test_a_new_index_saved_over_an_old_one_leaves_the_old_whole_until_it_counts(tmp_path, monkeypatch):
    old, new, text = build(random_gallery(40)), build(random_gallery(35, 9)), random_text()
    old.save(tmp_path)
    reader = VideoIndex.load(tmp_path)

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            new.save(tmp_path)
    expected = as_plain(old.search(text, 10))
    assert as_plain(VideoIndex.load(tmp_path).search(text, 10)) == expected
    new.save(tmp_path)
    assert as_plain(reader.search(text, 10)) == expected  # whoever has the old one open goes on with it
    assert as_plain(VideoIndex.load(tmp_path).search(text, 10)) == as_plain(new.search(text, 10))
    assert len({path.stem[-6:] for path in tmp_path.glob("*-*")}) == 1


def spoil(directory, kind):
    """Do one kind of damage to an index on disk."""
    content = json.loads((directory / "index.json").read_text())
    code, name = max(content["partitions"].items())
    file, table = directory / name, directory / content["clips"]
    match kind:
        case "truncated vectors":
            file.write_bytes(file.read_bytes()[:-7])
        case "foreign vectors":
            file.write_bytes(b"something else entirely, of some length" * 9)
        case "other vectors":
            shutil.copy(directory / min(content["partitions"].values()), file)
        case "another metric":
            flat = faiss.read_index(str(file))
            other = faiss.IndexFlatL2(flat.d)
            other.add(flat.reconstruct_n(0, flat.ntotal))
            faiss.write_index(other, str(file))
        case "partition forgotten":
            del content["partitions"][code]
        case "truncated table":
            table.write_bytes(table.read_bytes()[:-100])
        case "vectors missing" | "table missing":
            (file if kind == "vectors missing" else table).unlink()
        case "shorter table":
            pd.read_parquet(table).iloc[:-1].to_parquet(table)
        case "table without a column":
            pd.read_parquet(table).drop(columns="video").to_parquet(table)
        case "other layout":
            content["layout"]["sizes"] = [6, 3, 4, 3]
        case "other format":
            content["format"] = 99
        case "a list":
            content = []
        case _:
            del content[kind]
    (directory / "index.json").write_text(json.dumps(content))


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_as_one_sentence(tmp_path, kind, mapped):
    build(random_gallery(40)).save(tmp_path)
    spoil(tmp_path, kind)
    with pytest.raises(InputError) as caught:
        VideoIndex.load(tmp_path, mapped=mapped)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_there_is_no_index_it_says_how_to_make_one(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="mee index STORE MODEL"):
            VideoIndex.load(place)
