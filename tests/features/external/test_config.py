"""How the command line of an import is spelt."""

from pathlib import Path

import pytest

from features.external.config import extractor_names, named_files


def test_files_by_stream():
    assert named_files(["appearance=a=b.npy", "i3d_rgb=x/"]) == {
        "appearance": Path("a=b.npy"),
        "i3d_rgb": Path("x/"),
    }


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ([], "name what to import"),
        (["a.npy"], "'a.npy' should be STREAM=FILE"),
        (["a="], "'a=' should be"),
        (["=a.npy"], "should be"),
        (["../x=a.npy"], "should be"),
        ([".x=a.npy"], "should be"),
        (["a.b=a.npy"], "should be"),
        (["a=1.npy", "a=2.npy"], "'a' is given twice"),
    ],
)
def test_files_that_are_not_spelt_so(sources, says):
    with pytest.raises(ValueError, match=says):
        named_files(sources)


def test_names_by_stream():
    assert extractor_names(["resnet152"], ["appearance"]) == {"appearance": "resnet152"}
    assert extractor_names(["motion=i3d"], ["appearance", "motion"]) == {"motion": "i3d"}
    assert extractor_names([], ["appearance"]) == {}


@pytest.mark.parametrize("names", [["x"], ["c=x"], ["a="], ["a=x", "a=y"], [""]])
def test_names_that_fit_no_stream(names):
    with pytest.raises(ValueError, match="should be STREAM=NAME, each of a, b at most once"):
        extractor_names(names, ["a", "b"])
