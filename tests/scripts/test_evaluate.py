"""`mee evaluate`: figures with what is needed to compare them."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.config import EvaluateScoresConfig, NormaliseConfig
from mee.evaluation.evaluate import evaluate_scores as evaluation_of
from mee.evaluation.metrics import clustered_errors
from mee.evaluation.result import read_result
from mee.evaluation.retrieval import Retrieval
from scripts.evaluate import main
from scripts.import_features import main as import_features
from scripts.report.command import main as report
from scripts.report.entry import number, signed
from scripts.train import main as train


@pytest.fixture
def evaluate(world, prints):
    return lambda *extra, captions=world.captions: prints(main, world.store, captions, world.model, *extra)


@pytest.fixture
def result_of(evaluate):
    return lambda *extra: json.loads(evaluate("--json", *extra).out)


def test_tables_by_default(evaluate):
    out, err = evaluate()
    assert "folder, test): 4 queries (every caption), 2 clips" in out
    for words in ("text to video", "video to text", "Ties: expected rank", "Normalisation: none"):
        assert words in out
    assert "warning" not in err


def test_json_is_the_result_and_so_is_the_file(result_of, tmp_path):
    result = result_of("--result", tmp_path / "r.json", "--name", "ours")
    assert read_result(tmp_path / "r.json").model_dump(mode="json") == result
    assert (result["protocol"]["queries"], result["protocol"]["gallery"]) == (4, 2)
    assert result["protocol"]["split"] == "test"
    assert result["protocol"]["streams"].keys() == {"appearance", "motion", "audio", "face"}
    expected = {"name": "ours", "seed": 0, "trained_on": "6 videos", "selected_here": False}
    assert {name: result["system"][name] for name in expected} == expected
    assert result["system"]["checkpoint"]
    assert result["made"]["command"].startswith("mee evaluate ")
    t2v = result["text_to_video"]
    assert t2v["metrics"].keys() >= {"R@1", "R@5", "R@10", "R@50", "MedR", "MeanR", "Geom", "MRR", "nDCG@10"}
    assert t2v["metrics"]["R@50"] == 100
    assert t2v["intervals"]["R@1"][0] <= t2v["metrics"]["R@1"] <= t2v["intervals"]["R@1"][1]
    assert sum(count for _, count in t2v["histogram"]) == 4
    assert {query["caption"] for query in result["best"]} == {query["caption"] for query in result["worst"]}
    assert all(query["right"]["video"] for query in result["best"])
    assert result["schemes"] == []


def test_ablation_and_no_intervals(result_of):
    result = result_of("--ablation", "--bootstrap", 0)
    assert {row["name"] for row in result["schemes"]} >= {"appearance", "uniform", "renormalise"}
    assert {row["name"] for row in result["removed"]} == {"appearance", "motion", "audio", "face"}
    assert sum(row["queries"] for row in result["patterns"]) == 4
    assert result["text_to_video"]["intervals"] == {}
    assert sum(result["weights"]["rows"][0][2]) == pytest.approx(100)


def test_the_rank_file_is_that_of_the_result(result_of, tmp_path):
    result = result_of("--ranks", tmp_path / "ranks.csv")
    ranks = pd.read_csv(tmp_path / "ranks.csv", dtype={"query_id": str}).set_index("query_id")
    assert len(ranks) == 4
    assert ranks["rank"].mean() == pytest.approx(result["text_to_video"]["metrics"]["MeanR"])
    worst = result["worst"][0]
    row = ranks.loc[worst["query_id"]]
    assert row["rank"] == worst["rank"]
    assert row[["top_1", "top_2"]].tolist() == [answer["clip_id"] for answer in worst["top"]]


NNN = ("--normalise.alpha", 0.75, "--normalise.neighbours", 128)


@pytest.mark.parametrize("method", ["qb-norm", "nnn", "dsl"])
def test_normalisation_is_recorded(evaluate, result_of, method):
    given = ("--normalise.method", method, *(NNN if method == "nnn" else ("--normalise.beta", 20)))
    recorded = result_of(*given)["rules"]["normalisation"]
    said = ("method", "uses_test_queries", "fitted_on")
    assert tuple(recorded[name] for name in said) == (method, method == "dsl", None)
    assert ("training captions" in str(recorded["bank"])) == (method != "dsl")
    assert ("uses test queries" in evaluate(*given).out) == (method == "dsl")
    assert "none: nothing helped 4 captions of split 'val'" in evaluate("--normalise.method", method).out


def test_normalisation_is_fitted_on_held_out_captions_or_given(evaluate, world, tmp_path, fails, monkeypatch):
    of, seen, parameters = Retrieval.of, [], {"neighbours": 3, "alpha": 0.5}

    def chosen(self, ranks, clips):
        assert (len(ranks(NormaliseConfig())), len(set(clips.tolist()))) == (4, 2)
        return replace(self, **parameters)

    monkeypatch.setattr(Retrieval, "of", lambda *args, **how: seen.append((args, how)) or of(*args, **how))
    monkeypatch.setattr(NormaliseConfig, "fitted", chosen)
    captions = tmp_path / "captions.csv"
    captions.write_text(world.captions.read_text().replace(",val", ",train"))  # training held these out, too
    result = json.loads(evaluate("--json", "--normalise.method", "nnn", captions=captions).out)
    found = {"parameters": parameters, "fitted_on": "4 captions of videos that training held out"}
    assert result["rules"]["normalisation"].items() >= {**found, "bank": "16 training captions"}.items()
    (_, gallery, pairs), how = seen[0]
    assert set(pairs.captions) == {f"number {n} moves {way}" for n in (6, 7) for way in ("up", "on")}
    assert (len(gallery.names), len(how["bank"].packed)) == (2, 12)
    own = (world.store, world.captions, world.model, "--split", "val")  # measured themselves
    assert "give --normalise.alpha and" in fails(main, *own, "--normalise.method", "nnn")


@pytest.mark.parametrize(
    ("convention", "queries", "words"),
    [("closest", 2, "closest own caption"), ("video", 2, "videos ranked"), ("each", 4, "in turn")],
)
def test_the_convention_of_video_to_text_is_recorded(result_of, convention, queries, words):
    result = result_of("--v2t", convention)
    assert result["video_to_text"]["queries"] == queries
    assert words in result["rules"]["v2t"]


def test_the_validation_split_is_recorded(evaluate, world):
    out, err = evaluate("--split", "val", "--json")
    selects = json.loads((world.model / "training.json").read_text())["selects"]
    result = json.loads(out)
    system = {"selected_on": "validation" if selects else "nothing", "selected_here": selects}
    assert result["protocol"]["split"] == "val"
    assert {name: result["system"][name] for name in system} == system
    assert ("selected on these videos" in err) is selects


def test_partial_is_written_into_the_result(evaluate, world, tmp_path, fails):
    captions = tmp_path / "more.csv"
    captions.write_text(world.captions.read_text() + "elsewhere,a caption,test\n")
    assert "--partial" in fails(main, world.store, captions, world.model)
    out, err = evaluate("--partial", "--json", captions=captions)
    assert json.loads(out)["protocol"]["partial"] is True
    assert json.loads(out)["protocol"]["left_out"] == ["elsewhere"]
    assert "partial: left out 1" in err


def test_captions_that_cannot_be_evaluated_on(world, tmp_path, fails):
    captions = tmp_path / "captions.csv"
    own = (world.store, captions, world.model)
    captions.write_text("video_id,caption\nclip8,a thing\n")
    assert "use --split val" in fails(main, *own, "--split", "test")
    assert "held out" in fails(main, *own)
    lines = world.captions.read_text().splitlines()
    captions.write_text("\n".join(line for line in lines if not line.endswith(",train")) + "\n")
    assert "needs a bank" in fails(main, *own, "--normalise.method", "nnn")


def test_names_that_cannot_be_written_to_are_refused_before_any_work(world, tmp_path, fails):
    (tmp_path / "folder.json").mkdir()
    for flag, value, message in (
        ("--result", tmp_path / "r.txt", "written as .json"),
        ("--result", tmp_path / "none" / "r.json", "there is no folder"),
        ("--result", tmp_path / "folder.json", "is a folder"),
        ("--ranks", tmp_path / "r.txt", ".csv or .parquet"),
        ("--protocol", "msrvtt-1k", "did you mean 'msrvtt-1ka'"),
    ):
        assert message in fails(main, world.store, world.captions, world.model, flag, value)


# ---- --scores FILE: other systems under the same rule


VIDEOS, ALL = ("a.mp4", "b.mp4", "c.mp4"), ("1", "2", "3", "4", "5", "6")


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.csv"
    rows = [f"{video},{word} {video},test" for video in VIDEOS for word in ("a dog in", "rain on")]
    path.write_text("video_id,caption,split\n" + "\n".join(rows) + "\nx.mp4,training,train\n")
    return path


@pytest.fixture
def save(tmp_path):
    def run(name, scores, query_ids, clip_ids=VIDEOS):
        np.savez(tmp_path / name, scores=np.asarray(scores, np.float32), query_ids=query_ids, clip_ids=clip_ids)
        return tmp_path / name

    return run


@pytest.fixture
def scores(save):
    """A matrix that ranks all right but the last caption."""
    matrix = np.repeat(np.eye(3), 2, axis=0)
    matrix[5] = [0.9, 0.1, 0.5]
    return save("theirs.npz", matrix, ALL)


@pytest.fixture
def evaluate_scores(captions, scores, prints):
    return lambda *extra: prints(main, captions, "--scores", scores, *extra)


def test_the_same_report(evaluate_scores, tmp_path):
    out, err = evaluate_scores("--json", "--result", tmp_path / "r.json", "--seed", 3)
    result = json.loads(out)
    assert result["text_to_video"]["metrics"]["R@1"] == pytest.approx(100 * 5 / 6)
    assert result["text_to_video"]["metrics"]["MeanR"] == pytest.approx(7 / 6)
    assert result["video_to_text"]["metrics"]["R@1"] == 100
    assert [result["system"][name] for name in ("name", "kind", "seed")] == ["theirs", "scores", 3]
    assert "sha256:" in result["system"]["files"]["scores"]
    assert result["worst"][0]["caption"] == "rain on c.mp4"
    assert "--trained-on" in err
    assert "6 queries (every caption), 3 clips" in evaluate_scores()[0]


def test_what_it_was_trained_on_is_checked(evaluate_scores, captions, scores, tmp_path, fails):
    ids = tmp_path / "ids.txt"
    ids.write_text("x.mp4\ny.mp4\n")
    out, err = evaluate_scores("--json", "--trained-on", ids)
    assert json.loads(out)["system"]["trained_on"].startswith("2 videos")
    assert err == ""
    ids.write_text("x.mp4\nb.mp4\n")
    error = fails(main, captions, "--scores", scores, "--trained-on", ids)
    assert re.search("1 of the 3 test videos.*b.mp4", error)


def test_a_bank_of_another_score_file(evaluate_scores, save):
    bank = save("bank.npz", [[0.8, 0.1, 0.1]], ["t1"])
    result = json.loads(evaluate_scores("--json", "--normalise.method", "nnn", "--bank", bank, *NNN).out)
    assert result["text_to_video"]["metrics"]["R@1"] == 100  # the hub a.mp4 is taken back: 0.9 - 0.6 < 0.5 - 0.075
    assert result["rules"]["normalisation"]["parameters"] == {"neighbours": 1, "alpha": 0.75}


def test_scores_that_cannot_be_used(captions, scores, save, fails):
    assert "--partial" in fails(main, captions, "--scores", save("other.npz", np.eye(3), ["1", "2", "3"]))
    assert "nan" in fails(main, captions, "--scores", save("other.npz", np.full((6, 3), np.nan), ALL))
    assert "needs a bank" in fails(main, captions, "--scores", scores, "--normalise.method", "qb-norm")
    bank = save("bank.npz", np.ones((1, 3)), ["t"], VIDEOS)
    what = (captions, "--scores", scores, "--normalise.method", "nnn", "--bank", bank)
    assert "give --normalise.alpha and --normalise.neighbours" in fails(main, *what)
    bank = save("bank.npz", np.ones((1, 2)), ["t"], VIDEOS[:2])
    assert "'c.mp4'" in fails(main, captions, "--scores", scores, "--normalise.method", "nnn", "--bank", bank)
    captions.write_text("video_id,caption,split\nx.mp4,training,train\n")
    assert "no caption" in fails(main, captions, "--scores", scores)


def test_partial_records_what_was_left_out(captions, save, json_lines):
    few = save("few.npz", np.eye(3), ["1", "3", "5"])
    (result,) = json_lines(main, captions, "--scores", few, "--partial")
    assert result["protocol"]["partial"] is True
    assert result["protocol"]["queries"] == 3
    assert "3 queries of the protocol were not scored" in result["protocol"]["missing"][0]


@given(st.data())
def test_several_right_videos_are_ranked_as_by_loops_in_rows_and_by_judgments(tmp_path_factory, data):
    """The best one counts; video to text, the closest of the captions that are right."""
    count, clips = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    right = [data.draw(st.sets(st.integers(0, clips - 1), min_size=1)) for _ in range(count)]
    scores = [[data.draw(st.integers(0, 3)) for _ in range(clips)] for _ in range(count)]
    folder = tmp_path_factory.mktemp("judged")
    names = {"query_ids": [f"q{n}" for n in range(count)], "clip_ids": [f"v{n}" for n in range(clips)]}
    np.savez(folder / "s.npz", scores=np.array(scores, np.float32), **names)
    pairs = [(query, clip) for query in range(count) for clip in sorted(right[query])]
    rows = [f"q{query},v{clip},caption {query}\n" for query, clip in pairs]
    (folder / "rows.csv").write_text("query_id,video_id,caption\n" + "".join(rows))
    (folder / "topics.csv").write_text("query_id,caption\n" + "".join(f"q{n},caption {n}\n" for n in range(count)))
    wrong = [(query, clip) for query in range(count) for clip in set(range(clips)) - right[query]]
    grades = [f"q{q} 0 v{c} {grade}\n" for some, grade in ((pairs, 1), (wrong, 0)) for q, c in some]
    (folder / "qrels").write_text("".join(grades))

    def rank(scores_of, own):
        best = max(scores_of[place] for place in own)
        others = [score for place, score in enumerate(scores_of) if place not in own]
        return 1 + sum(score > best for score in others) + sum(score == best for score in others) / 2

    gallery = {n: {query for query in range(count) if n in right[query]} for n in range(clips)}
    for captions, judgments in (("rows.csv", None), ("topics.csv", folder / "qrels")):
        shown = [n for n in gallery if judgments or gallery[n]]  # rows name no other clip
        config = EvaluateScoresConfig(
            captions=folder / captions, scores=folder / "s.npz", judgments=judgments, partial=True, bootstrap=0
        )
        parts = evaluation_of(config, torch.device("cpu")).parts
        t2v = [rank([scores[q][n] for n in shown], {shown.index(n) for n in right[q]}) for q in range(count)]
        v2t = [rank([row[n] for row in scores], gallery[n]) for n in shown if gallery[n]]
        for way, ranks in (("text_to_video", t2v), ("video_to_text", v2t)):
            assert sorted(itertools.chain(*parts[way].ranks)) == sorted(ranks)
        assert parts["protocol"].judgments == len(pairs)


def test_judgments_of_a_model_and_columns_under_other_names(world, prints, tmp_path):
    table = pd.read_csv(world.captions)
    test = table[table["split"] == "test"].reset_index(drop=True)
    topics = test[["caption"]].assign(name=[f"q{n}" for n in range(len(test))]).drop_duplicates("caption")
    topics.rename(columns={"caption": "my words"}).to_csv(tmp_path / "topics.csv", index=False)
    videos = test["video_id"].unique()
    lines = [f"{name} 0 {video} {grade}\n" for name in topics["name"] for video, grade in zip(videos, (1, 0))]
    (tmp_path / "qrels.txt").write_text("".join(lines))
    flags = ("--columns", "query_id=name,caption=my words", "--judgments", tmp_path / "qrels.txt", "--json")
    result = json.loads(prints(main, world.store, tmp_path / "topics.csv", world.model, *flags).out)
    facts = result["protocol"]
    assert (facts["queries"], facts["gallery"], facts["judgments"]) == (len(topics), 2, len(topics))
    assert {query["right"]["video"].partition(".")[0] for query in result["best"]} == {videos[0].partition(".")[0]}
    assert facts["files"].keys() == {"captions", "judgments"}


def test_captions_that_several_videos_share_are_counted(captions, scores, save, prints):
    rows = [f"{video},the same,test\n" for video in VIDEOS]
    captions.write_text("video_id,caption,split\n" + "".join(rows))
    path = save("same.npz", np.eye(3), ["1", "2", "3"], VIDEOS)
    assert "3 captions are shared by several videos" in prints(main, captions, "--scores", path).err


# ---- --protocol lsmdc-mc: five sentences a clip, and the accuracy of the best-scored one


WORDS = ("red", "green", "blue", "white", "black")
CLIPS = [f"1001_Film/1001_Film_00.{n:02d}.00.000-00.{n:02d}.01.000" for n in range(60)]
SMALL = ("--embed-dim=8", "--text.width=16", "--text.layers=1", "--text.heads=2", "--epochs=40", "--batch-size=10")
RATE = ("--learning-rate=1e-2", "--dropout=0", "--text.dropout=0")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """A store whose clips show one colour each, questions about five clips, and a model that knows the colours."""
    place = tmp_path_factory.mktemp("choice")
    rng = np.random.default_rng(0)
    shown = np.arange(60) % 5
    np.save(place / "sight.npy", (3 * np.eye(5)[shown] + 0.1 * rng.normal(size=(60, 5))).astype(np.float32))
    (place / "ids.txt").write_text("\n".join(CLIPS) + "\n")
    store, captions, model = (str(place / name) for name in ("store", "captions.csv", "model"))
    assert import_features([store, f"sight={place / 'sight.npy'}", "--ids", str(place / "ids.txt")]) == 0
    rows = [f"{CLIPS[n]},something {WORDS[shown[n]]},{'train' if n < 50 else 'val'}" for n in range(55)]
    (place / "captions.csv").write_text("video_id,caption,split\n" + "\n".join(rows) + "\n")
    assert train([store, captions, model, *SMALL, *RATE]) == 0
    (place / "mc").mkdir()
    lines = []
    for n in range(55, 60):
        sentences = [f"something {WORDS[(shown[n] + k) % 5]}" for k in (2, 1, 0, 3, 4)]
        lines.append("\t".join([CLIPS[n].partition("/")[2], "0", "1", "0", "1", *sentences, "3"]))
    (place / "mc" / "LSMDC16_multiple_choice_test_randomized.csv").write_text("\n".join(lines) + "\n")
    return [store, str(place / "mc"), model, "--protocol", "lsmdc-mc"]


def test_the_right_sentence_is_chosen(arguments, prints, json_lines):
    (result,) = json_lines(main, *arguments, "--partial")
    assert result["choice"]["questions"] == 5
    assert result["choice"]["accuracy"] == 100  # 20 by chance
    assert result["text_to_video"] is None
    assert result["protocol"]["partial"] is True
    assert "10,053" in result["protocol"]["missing"][0]
    assert "accuracy" in prints(main, *arguments, "--partial").out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((), "10,053"),
        (("--partial", "--ablation"), "ranks nothing"),
        (("--partial", "--normalise.method", "nnn"), "ranks nothing"),
        (("--partial", "--ranks", "r.csv"), "ranks nothing"),
    ],
)
def test_what_is_refused(arguments, fails, extra, message):
    assert message in fails(main, *arguments, *extra, alone=not extra)


def test_a_model_and_scores_of_the_same_captions_are_compared_query_by_query(evaluate, world, prints, tmp_path):
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    evaluate("--result", ours, "--ranks", tmp_path / "ranks.csv")
    ranks = pd.read_csv(tmp_path / "ranks.csv", dtype={"query_id": str})
    own = ranks["right_clip_id"].str.partition(".")[0].to_numpy()[::-1]  # in any order
    videos, ids = np.unique(own), ranks["query_id"].to_numpy()[::-1].astype("U")
    np.savez(tmp_path / "s.npz", scores=1.0 * (own[:, None] == videos), query_ids=ids, clip_ids=videos.astype("U"))
    prints(main, world.captions, "--scores", tmp_path / "s.npz", "--result", theirs)
    found = clustered_errors(*([read_result(path).text_to_video] for path in (ours, theirs)))["R@1"]
    apart = 100 - read_result(ours).text_to_video.metrics["R@1"]
    out = " ".join(prints(report, ours, theirs).out.split())
    assert "text to video, difference from model" in out
    assert f"s {signed(apart)} ± {number(found)} " in out
