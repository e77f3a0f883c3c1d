"""MSR-VTT: the real lists, three protocols of one data set, and combinations that must never run."""

import pytest

from mee.errors import InputError
from mee.protocols.files import AnnotationFiles
from mee.protocols.msrvtt import FULL, find_list
from mee.protocols.table import PROTOCOLS, load_benchmark


@pytest.fixture
def small(made, tmp_path):
    """small(videos): a directory with the captions of some videos."""

    def write(videos, name="MSRVTT_data.json"):
        made.write_json(tmp_path / name, made.msrvtt_json(videos))
        return tmp_path

    return write


def test_the_real_1ka_test_and_training_lists_are_what_their_rules_say(real, tmp_path):
    benchmark = load_benchmark("msrvtt-1ka", real)
    test = benchmark.gallery
    assert benchmark.shortfalls == ()
    assert len(benchmark.table) == len(test) == 1_000
    assert set(test) <= set(FULL["test"])
    first = ["ret0", "video9770", "a person is connecting something to system", "test"]
    assert benchmark.table.iloc[0].tolist() == first
    times = benchmark.table["caption"].value_counts()
    assert (len(times[times > 1]), times[times > 1].sum()) == (4, 9)
    there, nowhere = (AnnotationFiles(path, PROTOCOLS["msrvtt-1ka"]) for path in (real, tmp_path))
    lists, ruled = ({n: set(find_list(at, n, test, role=n)) for n in ("9k", "7k")} for at in (there, nowhere))
    assert {name: path.name for name, path in there.read.items()} == {n: f"MSRVTT_train.{n}.csv" for n in lists}
    assert {name: len(videos) for name, videos in lists.items()} == {"9k": 9_000, "7k": 7_010}
    assert (lists, nowhere.read) == (ruled, {})
    assert not lists["9k"] & set(test)
    assert len(lists["9k"] & set(FULL["test"])) == 1_990


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("name", "train_list", "overlap"),
    [
        ("msrvtt-full", "9k", 1_990),
        ("msrvtt-full", "1kb", 1_367),
        ("msrvtt-1kb", "9k", 1_000),
        ("msrvtt-1ka", "1kb", 505),
    ],
)
def test_a_training_list_of_another_protocol_is_refused(full, name, train_list, overlap, partial):
    message = rf"{overlap:,} of the [\d,]+ videos of training list '{train_list}' are among the {name} test videos"
    with pytest.raises(InputError, match=message):
        load_benchmark(name, full(name), train_list=train_list, partial=partial)


def test_videos_are_split_by_number_or_list_and_not_by_the_files_marks(loaded, full):
    benchmark = loaded("msrvtt-full")
    for split, rows in benchmark.table.groupby("split"):
        assert tuple(rows["video_id"].unique()) == FULL[split]
    assert benchmark.table.iloc[0].tolist() == ["0", "video0", "video0 says 0", "train"]
    table = loaded("msrvtt-1ka").table  # every caption is for training, and a fixed one of each video the query
    assert set(table[table["split"] == "train"].groupby("video_id").size()) == {20}
    assert table.iloc[0].tolist() == ["ret0", "video7010", "a query, number 0", "test"]
    table = load_benchmark("msrvtt-1ka", full("msrvtt-1ka"), train_list="7k").table
    assert set(table["video_id"][table["split"] == "train"]) == {*FULL["train"], *FULL["val"]}


def test_1kb_asks_the_first_caption_of_each_video_in_the_files_order(made, tmp_path):
    content = made.msrvtt_json(["video3", "video1", "video2"])
    content["sentences"] = content["sentences"][::-1]
    made.write_json(tmp_path / "MSRVTT_data.json", content)
    made.write_lines(tmp_path / "test_list_miech.txt", ["video2", "video3"])
    benchmark = load_benchmark("msrvtt-1kb", tmp_path, partial=True)
    assert benchmark.gallery == ("video2", "video3")
    assert benchmark.table.to_records(index=False).tolist() == [
        ("59", "video2", "video2 says 19", "test"),
        ("19", "video3", "video3 says 19", "test"),
    ]


@pytest.mark.parametrize("count", [999, 1_001])
def test_a_1ka_test_of_another_length_is_refused_and_never_trained_around(made, small, count):
    folder = small([f"video{number}" for number in range(7_000, 9_100)])
    made.write_1ka_test(folder / "MSRVTT_JSFUSION_test.csv", [f"video{n}" for n in range(7_010, 7_010 + count)])
    with pytest.raises(InputError, match=f"{count:,} test videos where it has 1,000; {count:,} test queries"):
        load_benchmark("msrvtt-1ka", folder)
    benchmark = load_benchmark("msrvtt-1ka", folder, partial=True)
    assert len(benchmark.shortfalls) == 2
    assert set(benchmark.table["split"]) == {"test"}  # 9k would be what this test leaves over
    with pytest.raises(InputError, match=r"has no MSRVTT_train\.9k\.csv or "):
        load_benchmark("msrvtt-1ka", folder, partial=True, train_list="9k")


def test_a_list_file_counts_more_than_its_rule(made, small):
    folder = small(["video0", "video1"])
    made.write_1ka_test(folder / "MSRVTT_JSFUSION_test.csv")
    made.write_lines(folder / "MSRVTT_train.9k.csv", ["video_id", "video0"])
    with pytest.raises(InputError, match="does not match msrvtt-1ka: 1 training video where it has 9,000"):
        load_benchmark("msrvtt-1ka", folder)
    made.write_lines(folder / "MSRVTT_train.9k.csv", ["video_id", "video0", "video7010"])
    with pytest.raises(InputError, match="1 of the training videos is among the test videos too: 'video7010'"):
        load_benchmark("msrvtt-1ka", folder, partial=True)


def test_what_the_full_test_or_a_foreign_list_lacks_is_named(small):
    folder = small([f"video{number}" for number in range(7_011, 10_000)])
    lacking = r"2,989 test videos where it has 2,990 \(without 'video7010'\); 59,780 test queries"
    with pytest.raises(InputError, match=lacking):
        load_benchmark("msrvtt-full", folder)
    assert len(load_benchmark("msrvtt-full", folder, partial=True).shortfalls) == 2
    with pytest.raises(InputError, match=r"has no train_list_miech.txt; msrvtt-full is read from "):
        load_benchmark("msrvtt-full", folder, train_list="1kb")


def test_one_file_or_two_or_the_coco_style_are_the_same(made, loaded, tmp_path):
    videos = [f"video{number}" for number in range(10_000)]
    for folder in ("two", "coco"):
        (tmp_path / folder).mkdir()
    made.write_json(tmp_path / "two" / "train_val_videodatainfo.json", made.msrvtt_json(videos[:7_010]))
    made.write_json(tmp_path / "two" / "test_videodatainfo.json", made.msrvtt_json(videos[7_010:], 7_010 * 20))
    rows = made.msrvtt_sentences(videos)
    annotations = [{"id": row["sen_id"], "image_id": row["video_id"], "caption": row["caption"]} for row in rows]
    made.write_json(tmp_path / "coco" / "annotation" / "MSR_VTT.json", {"annotations": annotations})
    for folder in ("two", "coco"):
        benchmark = load_benchmark("msrvtt-full", tmp_path / folder)
        assert benchmark.gallery == loaded("msrvtt-full").gallery
        assert benchmark.table.equals(loaded("msrvtt-full").table)


def test_query_ids_are_unique_where_two_files_number_alike_or_none_does(made, small):
    folder = small([f"video{number}" for number in range(10)], "train_val_videodatainfo.json")
    made.write_json(folder / "test_videodatainfo.json", made.msrvtt_json(["video7010"]))
    table = load_benchmark("msrvtt-full", folder, partial=True).table
    assert table["query_id"].is_unique
    assert table["query_id"].tolist()[-1] == "video7010:19"
    annotations = [{"image_id": "video7010", "caption": text} for text in "ab"]
    made.write_json(folder / "one.json", {"annotations": annotations})
    table = load_benchmark("msrvtt-full", folder / "one.json", partial=True).table
    assert table["query_id"].tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda content: content.pop("sentences"), "neither 'sentences' nor 'annotations'"),
        (lambda content: content["sentences"][3].pop("caption"), r"sentences\[3\] has no text 'caption'"),
        (lambda content: content["sentences"][3].update(caption=7), r"sentences\[3\] has no text 'caption'"),
        (lambda content: content["sentences"][3].pop("video_id"), r"sentences\[3\] has no id 'video_id'"),
        (lambda content: content["sentences"][3].update(sen_id=None), r"sentences\[3\] has no id 'sen_id'"),
        (lambda content: content["sentences"][3].update(sen_id=2), "id of another one: '2'"),
        (lambda content: content["sentences"].append("x"), r"sentences\[20\] has no id 'video_id'"),
        (lambda content: content.update(sentences={}), "has no list 'sentences'"),
        (lambda content: content["videos"][0].update(video_id="video10000"), "names 'video10000'"),
        (lambda content: content["sentences"][0].update(video_id="video07"), "names 'video07'"),
        (lambda content: content["sentences"].clear(), "no caption of any test video of msrvtt-full"),
        (lambda content: content.update(sentences=[], videos=[]), "names no test video"),
    ],
)
def test_a_broken_caption_file(made, tmp_path, spoil, says):
    content = made.msrvtt_json(["video7010"])
    spoil(content)
    made.write_json(tmp_path / "MSRVTT_data.json", content)
    with pytest.raises(InputError, match=says) as caught:
        load_benchmark("msrvtt-full", tmp_path, partial=True)
    assert str(tmp_path) in str(caught.value)


HEADER = "key,video_id,sentence"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["key,video_id,text", "r,video1,x"], "no column 'sentence'; it has 'key', 'video_id', 'text'"),
        ([HEADER], "a header and no rows"),
        ([HEADER, "r,video1,"], "line 2 has nothing in column 'sentence'"),
        ([HEADER, "r,video1,x, y"], "line 2 has more fields"),
        ([HEADER, 'r,video1,"x'], "line 2"),
        ([HEADER, "r,v1,x"], "names 'v1'"),
        ([HEADER, "r,video1,x", "s,video1,y"], "more than once: 'video1'"),
        ([HEADER, "r,video1,x", "r,video2,y"], "id of another one: 'r'"),
    ],
)
def test_a_broken_test_csv(made, tmp_path, lines, says):
    made.write_lines(tmp_path / "MSRVTT_JSFUSION_test.csv", lines)
    with pytest.raises(InputError, match=says):
        load_benchmark("msrvtt-1ka", tmp_path, partial=True)


def test_commas_in_quotes_and_rare_line_separators_are_part_of_a_sentence(made, tmp_path):
    lines = ["video_id,key,sentence", 'video1,r,"x, ""y"""', "video2,s,a\u2028b\x85c"]
    made.write_lines(tmp_path / "a.csv", lines)
    benchmark = load_benchmark("msrvtt-1ka", tmp_path / "a.csv", partial=True)
    assert benchmark.table["caption"].tolist() == ['x, "y"', "a\u2028b\x85c"]
