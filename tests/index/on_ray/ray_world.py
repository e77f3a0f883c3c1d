"""An index in shards, and two Ray nodes on this machine that score it."""

import json
import os
from contextlib import contextmanager

import psutil

from features.cluster import QUIET, connected
from index.storage import IndexWriter, share_of
from tests.index.galleries import ORIGIN


@contextmanager
def two_nodes():
    """The address of their head."""
    os.environ.update(QUIET)  # before Ray is imported
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    try:
        cluster.add_node(**small)
        yield cluster.address
    finally:
        cluster.shutdown()


@contextmanager
def on_two_nodes():
    """The same, connected to."""
    with two_nodes() as address, connected(address):
        yield address


def in_shards(directory, entries, layout, count=3):
    """Write entries to a folder of shards, in each of which clips of the others were removed."""
    names = [f"shard-{number}" for number in range(count)]
    clips = list(zip(entries.table["clip_id"].to_pylist(), entries.table["video"].to_pylist()))
    for number, name in enumerate(names):
        with IndexWriter.create(directory / name, layout, ORIGIN) as writer:
            writer.put(entries)
            writer.remove([clip for clip, video in clips if share_of(video, count) != number])
    (directory / "shards.json").write_text(json.dumps({"format": 1, "shards": names}))
    return directory


def actors():
    """Processes of shards, of nodes that this process has started."""
    mine = psutil.Process().children(recursive=True)
    found = [its for its in mine if its.is_running() and its.name().startswith("ray::Shard")]
    return sorted(found, key=lambda its: its.pid)
