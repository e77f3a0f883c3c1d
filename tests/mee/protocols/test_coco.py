"""COCO captions: images as clips that only have their appearance."""

import pytest

from mee.errors import InputError
from mee.protocols.load import load_benchmark


def test_the_real_file_of_fifty_images(real):
    with pytest.raises(
        InputError, match="50 test videos where it has 5,000; 250 test queries where it has 25,014"
    ):
        load_benchmark("coco", real)
    benchmark = load_benchmark("coco", real, partial=True)
    assert len(benchmark.gallery) == 50
    assert benchmark.gallery[0] == "000000397133.jpg"
    assert len(benchmark.table) == 250
    one = benchmark.table[benchmark.table["query_id"] == "441"].iloc[0].tolist()
    assert one == ["441", "000000331352.jpg", "A small closed toilet in a cramped space.", "test"]
    assert (benchmark.table["caption"] == benchmark.table["caption"].str.strip()).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content.pop("images"), "has no list 'images'"),
        (lambda content: content["images"][1].update(id=1), r"images\[1\] has id '1' as an image before it"),
        (lambda content: content["images"][1].pop("file_name"), r"images\[1\] has no id 'file_name'"),
        (lambda content: content["annotations"][2].update(image_id=9), r"annotations\[2\] is about image '9'"),
        (lambda content: content["annotations"][2].pop("caption"), r"annotations\[2\] has no text 'caption'"),
        (lambda content: content["annotations"][2].update(id=0), "an id that another one has: '0'"),
        (lambda content: content["images"][1].update(file_name="000000000001.jpg"), "more than once: '0+1.jpg'"),
    ],
)
def test_a_broken_file(made, tmp_path, change, says):
    content = made.coco(1, 2, 4)
    change(content)
    made.write_json(tmp_path / "captions_val2017.json", content)
    with pytest.raises(InputError, match=says):
        load_benchmark("coco", tmp_path, partial=True)


def test_an_image_in_training_and_test(made, tmp_path):
    made.write_json(tmp_path / "captions_val2017.json", made.coco(1, 2, 4))
    made.write_json(tmp_path / "captions_train2017.json", made.coco(2, 2, 4))
    with pytest.raises(
        InputError, match=r"1 of the training videos is among the test videos too: '000000000002.jpg'"
    ):
        load_benchmark("coco", tmp_path, partial=True)
