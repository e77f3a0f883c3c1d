"""What a run of `mee index` again finds to do."""

import pandas as pd
import pytest

from mee.errors import InputError
from scripts.index_plan import planned


def facts(**versions):
    names = list(versions)
    place = {"video": names, "start_s": 0.0, "end_s": 1.0}
    return pd.DataFrame(
        {**place, "width": pd.array([8] * len(names), "Int64"), "version": list(versions.values())}, index=names
    )


def there(rows, **more):
    table = rows.astype({"video": "string", "version": "string", "start_s": "Float64", "end_s": "Float64"})
    none = {"pattern": "1", "constant": pd.NA, "active": pd.NA}
    return table.assign(**none, **{name: pd.array(values, kind) for name, (values, kind) in more.items()})


def told(plan):
    return plan.new, plan.changed, plan.left


def test_new_changed_left():
    plan = planned(facts(a="1", b="2", c="3"), there(facts(a="1", b="x", gone="9")), None)
    assert told(plan) == (["c"], ["b"], ["gone"])
    assert plan.put == ["b", "c"]
    assert list(plan.clips.columns) == ["video", "start_s", "end_s", "width", "version"]


def test_an_empty_index_or_store():
    nothing = there(facts(a="1")).iloc[:0]
    assert told(planned(facts(a="1"), nothing, None)) == (["a"], [], [])
    assert told(planned(facts(a="1").iloc[:0], there(facts(a="1")), None)) == ([], [], ["a"])
    assert told(planned(facts(a="1").iloc[:0], nothing, None)) == ([], [], [])


def test_metadata_is_kept_where_none_is_given():
    index = there(facts(a="1", b="2"), split=(["test", "val"], "string"))
    plan = planned(facts(a="1", b="new", c="3"), index, None)
    assert told(plan) == (["c"], ["b"], [])
    assert plan.clips["split"].fillna("-").tolist() == ["test", "val", "-"]


def test_metadata_counts_for_the_clips_it_names():
    index = there(facts(a="1", b="2", c="3"), split=(["test", "val", None], "string"), n=([1, 2, 3], "Int64"))
    given = pd.DataFrame({"split": pd.array(["test", None], "string")}, index=["a", "b"])
    plan = planned(facts(a="1", b="2", c="3"), index, given)
    assert told(plan) == ([], ["b"], [])
    assert plan.clips["split"].fillna("-").tolist() == ["test", "-", "-"]
    assert plan.clips["n"].tolist() == [1, 2, 3]
    again = there(
        plan.clips[list(facts(a="1").columns)], split=(plan.clips["split"], "string"), n=([1, 2, 3], "Int64")
    )
    assert told(planned(facts(a="1", b="2", c="3"), again, given)) == ([], [], [])


def test_a_new_column_changes_the_clips_that_have_it():
    given = pd.DataFrame({"mood": pd.array(["glad", None], "string")}, index=["a", "b"])
    plan = planned(facts(a="1", b="2", c="3"), there(facts(a="1", b="2", c="3")), given)
    assert told(plan) == ([], ["a"], [])
    assert plan.clips["mood"].dtype == "string"


@pytest.mark.parametrize(
    ("old", "new", "result"), [("Int64", "Float64", "Float64"), ("Float64", "Int64", "Float64")]
)
def test_whole_numbers_and_others_go_together(old, new, result):
    index = there(facts(a="1", b="2"), n=([1, 2], old))
    plan = planned(facts(a="1", b="2"), index, pd.DataFrame({"n": pd.array([5], new)}, index=["b"]))
    assert (str(plan.clips["n"].dtype), plan.clips["n"].tolist()) == (result, [1.0, 5.0])
    assert plan.changed == ["b"]


def test_numbers_do_not_become_text():
    index = there(facts(a="1"), n=([1], "Int64"))
    with pytest.raises(
        InputError, match="column 'n' of the metadata is text, and in the index it is numbers; give"
    ):
        planned(facts(a="1"), index, pd.DataFrame({"n": pd.array(["x"], "string")}, index=["a"]))
    plan = planned(facts(a="1"), index, pd.DataFrame({"n": pd.array([None], "string")}, index=["a"]))
    assert (plan.changed, str(plan.clips["n"].dtype)) == (["a"], "Int64")
    void = there(facts(a="1"), n=([None], "string"))
    plan = planned(facts(a="1"), void, pd.DataFrame({"n": pd.array([7], "Int64")}, index=["a"]))
    assert (plan.changed, plan.clips["n"].tolist()) == (["a"], [7])
