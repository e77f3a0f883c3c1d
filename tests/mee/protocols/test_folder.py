"""One's own collection, read as a benchmark."""

import pytest

from mee.errors import InputError
from mee.protocols.table import load_benchmark


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_queries_are_numbered_in_the_files_order(loaded):
    benchmark = loaded("folder")
    assert benchmark.table["query_id"].tolist() == [str(number) for number in range(1, 21)]
    assert benchmark.table.iloc[5].tolist() == ["6", "v2.mp4", "caption 5", "test"]
    assert benchmark.gallery == ("v0.mp4", "v1.mp4", "v2.mp4")
    assert (benchmark.shortfalls, benchmark.train_list) == ((), None)


def test_without_splits_all_is_test_and_the_table_names_none(tmp_path):
    path = write(tmp_path / "c.csv", "video_id,caption", "b,x", "a,y", "b,z")
    benchmark = load_benchmark("folder", path)
    assert list(benchmark.table.columns) == ["query_id", "video_id", "caption"]
    assert benchmark.gallery == ("b", "a")
    assert benchmark.files == {"captions": path}


def test_a_table_to_train_on_need_not_have_a_test(tmp_path):
    benchmark = load_benchmark(
        "folder", write(tmp_path / "c.csv", "video_id,caption,split", "a,x,train", "b,y,val")
    )
    assert benchmark.gallery == ()
    assert benchmark.table["split"].tolist() == ["train", "val"]


def test_ids_of_ones_own_are_kept(tmp_path):
    path = write(tmp_path / "c.csv", "video_id,caption,query_id", "a,x,q7", "b,y,q9")
    assert load_benchmark("folder", path).table["query_id"].tolist() == ["q7", "q9"]
    write(path, "video_id,caption,query_id", "a,x,q7", "b,y,q7")
    with pytest.raises(InputError, match="id of another one: 'q7'"):
        load_benchmark("folder", path)
