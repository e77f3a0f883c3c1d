"""mee serve --ray: what is answered while a shard does not answer, and the command with real actors."""

import json
import shutil
import signal
import time

import pytest

from index import IndexWriter, Searcher, VideoIndex
from index.storage import share_of, text_name
from mee.errors import Unavailable
from scripts.serve.asked import key_of
from scripts.serve.command import main
from tests.index.on_ray.ray_world import actors, two_nodes
from tests.scripts.serve.serve_client import client_of
from tests.scripts.serve.test_command import asked, serving
from tests.scripts.serve.test_metrics import samples


@pytest.fixture
def place(two, tmp_path):
    """The index of twelve clips, in two shards."""
    origin, clips = VideoIndex.open(two[0]).origin, [f"v{number:02d}.mp4" for number in range(12)]
    for number in range(2):
        with IndexWriter.open(shutil.copytree(two[0], tmp_path / "ix" / f"shard-{number}")) as writer:
            writer.remove([clip for clip in clips if share_of(clip, 2) != number])
    shutil.copytree(two[0] / text_name(origin), tmp_path / "ix" / text_name(origin))
    (tmp_path / "ix" / "shards.json").write_text(json.dumps({"format": 1, "shards": ["shard-0", "shard-1"]}))
    return tmp_path / "ix"


class Without:
    """In the place of actors: some do not answer."""

    def __init__(self, *missing):
        self.missing = missing

    def rank(self, index, queries, k, where, **options):
        if len(self.missing) == len(index.snapshot.shards):
            raise Unavailable("no shard answers")
        index.missing.update(self.missing)
        masks = []
        for number, shard in enumerate(index.snapshot.shards):
            masks += [segment.table.arrow["start_s"].to_numpy() < 0 for segment in shard.segments]
            masks[-1] |= f"shard-{number}" not in self.missing
        return VideoIndex(index.snapshot).rank(queries, k, where=masks, **options)


def test_what_is_answered_without_a_shard_says_so_everywhere(place, says):
    searcher = Searcher.load(place)
    of_first = {f"v{number:02d}.mp4" for number in range(12) if share_of(f"v{number:02d}.mp4", 2) == 0}
    with client_of(searcher) as ask:
        whole = ask("/api/search?q=a+dog").json()
        searcher.video_index.remote = Without("shard-1")
        answer = ask("/api/search?q=a+dog&size=2").json()
        assert not {"partial", "missing_shards"} & whole.keys()
        assert (answer["partial"], answer["missing_shards"], answer["count"]) == (True, ["shard-1"], len(of_first))
        assert [its["clip_id"] for its in whole["hits"] if its["clip_id"] in of_first][:2] == [
            its["clip_id"] for its in answer["hits"]
        ]
        following = ask(f"/api/search?token={answer['next']}").json()
        assert (following["partial"], following["notes"]) == (True, answer["notes"])
        assert answer["notes"][-1].partition(",")[0] in ask("/?q=a+dog").text.replace("&#39;", "'")
        explained = ask(f"/api/explain?q=a+dog&clip={key_of('v00.mp4')}")
        assert (explained.status_code, explained.headers["retry-after"]) == (503, "2")
        assert ask("/api/facets").status_code == 200
        found = samples(ask("/metrics").text)
        assert (found["mee_partial_answers_total", ()], found["mee_shards_missing", ()]) == (2, 1)
        searcher.video_index.remote = Without("shard-0", "shard-1")
        nothing = ask("/api/search?q=a+dog")
        assert nothing.status_code == 503
        searcher.video_index.remote = Without()
        assert ask("/api/search?q=a+dog").json() == whole
    says(" | ".join([*answer["notes"], explained.json()["error"]]))


def test_where_no_cluster_answers_it_does_not_start(place, capsys, says):
    pytest.importorskip("ray")
    assert main([str(place), "--port", "0", "--ray", "127.0.0.1:1"]) == 1
    says(capsys.readouterr().err)


@pytest.mark.slow
def test_the_command_holds_shards_as_actors_and_ends_with_them(place):
    pytest.importorskip("ray")
    with two_nodes() as address, serving(place, "--ray", address, "--shard-seconds", "30") as (process, line):

        def ask():
            status, content = asked(line, "api/search?q=a+dog&fold=1")
            return json.loads(content) if status == 200 else status

        with client_of(Searcher.load(place)) as plain:
            whole = plain("/api/search?q=a+dog&fold=1").json()
        assert ask() == whole
        actors()[0].kill()
        answers, end = [ask()], time.monotonic() + 60
        while answers[-1] != whole and time.monotonic() < end:
            time.sleep(0.1)
            answers.append(ask())
        assert answers[-1] == whole
        assert all(its["partial"] for its in answers[:-1])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "stopped")
        assert not any("Ray" in its or "raylet" in its for its in err.splitlines())
        assert not actors()
