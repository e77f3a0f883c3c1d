"""What a run of `mee index` again finds to do."""

from types import SimpleNamespace

import pandas as pd
import pytest

from index import Origin, VideoIndex, synchronise
from index.sync import FILE, facts_of, planned
from mee.errors import InputError


def facts(**versions):
    names = list(versions)
    place = {"video": names, "start_s": 0.0, "end_s": 1.0}
    place["width"] = pd.array([8] * len(names), "Int64")
    return pd.DataFrame({**place, "version": list(versions.values())}, index=names)


def there(rows, **more):
    table = rows.astype({"video": "string", "version": "string", "start_s": "Float64", "end_s": "Float64"})
    none = {"pattern": "1", "offset": pd.NA}
    return table.assign(**none, **{name: pd.array(values, kind) for name, (values, kind) in more.items()})


def done(plan):
    return plan.new, plan.changed, plan.left


def test_metadata_counts_for_the_clips_it_names():
    index = there(facts(a="1", b="2", c="3"), split=(["test", "val", None], "string"), n=([1, 2, 3], "Int64"))
    given = pd.DataFrame({"split": pd.array(["test", None], "string")}, index=["a", "b"])
    plan = planned(facts(a="1", b="2", c="3"), index, given)
    assert done(plan) == ([], ["b"], [])
    assert plan.clips["split"].fillna("-").tolist() == ["test", "-", "-"]
    assert plan.clips["n"].tolist() == [1, 2, 3]
    known = plan.clips[list(facts(a="1").columns)]
    again = there(known, split=(plan.clips["split"], "string"), n=([1, 2, 3], "Int64"))
    assert done(planned(facts(a="1", b="2", c="3"), again, given)) == ([], [], [])


@pytest.mark.parametrize(
    ("old", "given", "result", "changed"),
    [
        (None, (["x", None], "string"), (["x", None], "string"), ["a"]),
        (([1, 2], "Int64"), ([None, 5.5], "Float64"), ([None, 5.5], "Float64"), ["a", "b"]),
        (([1, 2], "Float64"), ([1, 5], "Int64"), ([1.0, 5.0], "Float64"), ["b"]),
        (([1, 2], "Int64"), ([None, None], "string"), ([None, None], "Int64"), ["a", "b"]),
        (([None, None], "string"), ([7, None], "Int64"), ([7, None], "Int64"), ["a"]),
    ],
)
def test_a_given_column_replaces_the_old_one_and_the_kinds_are_reconciled(old, given, result, changed):
    rows = facts(a="1", b="2", c="3")
    more = {} if old is None else {"n": ([*old[0], None], old[1])}
    plan = planned(rows, there(rows, **more), pd.DataFrame({"n": pd.array(*given)}, index=["a", "b"]))
    assert (str(plan.clips["n"].dtype), plan.changed) == (result[1], changed)
    assert [None if value is pd.NA else value for value in plan.clips["n"]] == [*result[0], None]


def source(versions, **columns):
    """As much of a source as `facts_of` reads."""
    place = {"video": ["a", "b"], "start_s": [0.0, 1.0], "end_s": [1.0, 2.0]}
    return SimpleNamespace(versions=versions, clips=pd.DataFrame({**place, **columns}, index=["a", "b"]))


def versions(made, *modalities, **columns):
    return facts_of(source(made, **columns), modalities or ("sight", "sound"))["version"].tolist()


def test_a_version_changes_with_the_file_its_streams_and_what_made_them():
    made = {"sight": "1", "sound": "1", "face": "1"}
    known = {"file_bytes": [5, 6], "file_sha256": ["x", "y"], "sight": "present", "sound": ["present", "missing"]}
    before = versions(made, **known)
    assert len({*before}) == 2
    assert {len(version) for version in before} == {16}
    assert versions({**made, "face": "2"}, **known, face="present") == before  # which the model does not read
    for other in (
        versions({**made, "sound": "2"}, **known),
        versions(made, **{**known, "file_sha256": ["z", "w"]}),
        versions(made, **{**known, "sight": ["missing", "missing"]}),
        versions(made, "sight", **known),
    ):
        assert not set(other) & set(before)
    assert versions(made, **{**known, "sound": "present"})[0] == before[0]
    assert list(facts_of(source({"sight": "1"}), ("sight",)).columns) == ["video", "start_s", "end_s", "version"]
    times = {"file_mtime": [1714521600.9, None]}
    rows = facts_of(source({"sight": "1"}, file_bytes=[0, 7], width=[None, 8], **times), ("sight",))
    assert rows["file_bytes"].isna().tolist() == [True, False]  # an import knows of no file
    kinds = {name: str(rows[name].dtype) for name in FILE if name in rows}
    assert kinds == {"file_bytes": "Int64", "width": "Int64", "file_modified": "string"}
    assert rows["file_modified"].fillna("-").tolist() == ["2024-05-01 00:00:00", "-"]  # in UTC
    for none in ([None, None], [1e300, -1e17]):
        assert facts_of(source({"sight": "1"}, file_mtime=none), ("sight",))["file_modified"].isna().all()


def test_any_source_is_followed_from_python(tmp_path, model, make_source):
    """What is new, was made again by the same extractor, or left; a second run has nothing to do."""

    def done(clips, store="s", **options):
        report = synchronise(tmp_path / "ix", model, clips, Origin("m", "f", store), **options)
        return report.new, report.changed, report.removed, len(report.left), len(VideoIndex.open(tmp_path / "ix"))

    assert done(make_source(["a", "b", "c"])) == (3, 0, 0, 0, 3)
    assert done(make_source(["a", "b", "c"])) == (0, 0, 0, 0, 3)
    assert done(make_source(["a", "b", "c"], made=2)) == (0, 3, 0, 0, 3)
    assert done(make_source(["b", "d"], made=2), store="moved") == (1, 0, 0, 2, 4)
    assert VideoIndex.open(tmp_path / "ix").origin.store == "moved"
    with pytest.raises(InputError, match=r"another model or store \('m', 'moved'\)"):
        done(make_source(["b", "d"], made=3), store="another")
    assert done(make_source(["b", "d"], made=2), prune=True) == (0, 0, 2, 0, 2)
