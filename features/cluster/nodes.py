"""A Ray cluster: connect to it, or start one here, and see whether its nodes can do a job."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from features.errors import InputError
from features.media import Library, stamp_of

CONNECT_S = 5.0  # for a connection to the cluster's address
OWN: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 100 << 20}  # of one that is started here
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}  # no statistics, no lines of workers
LOOK_S = 120.0  # that a node may take to look at the library and the store: it may have to start a process
START = "start one with: ray start --head, or leave the address out for one on this machine"


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to a cluster; without an address to one that runs on this machine, which may be started here.

    ``address``: HOST:PORT, ray://HOST:PORT, or auto for one that runs on this machine.

    Raises:
        InputError: Ray is not installed, there is no cluster, or it is of another version of Ray or Python.
    """
    os.environ |= QUIET
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs the package ray: pip install 'mee[ray]'") from error
    # what befalls nodes would be printed on stdout, which is for results; no setting of Ray turns that off
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    address = address or os.environ.get("RAY_ADDRESS")
    if address and ":" in address:
        _reach(address)
    elif not address and (found := ray._private.utils.read_ray_address()):
        with suppress(InputError):  # of a cluster that is not there any more: Ray itself would try for minutes
            _reach(found)
            address = found
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        # no log of Ray belongs between our lines: it keeps them in its own folder
        ray.init(
            address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **({} if address else OWN)
        )
    except (ConnectionError, RuntimeError, ValueError, ImportError, TimeoutError) as error:
        raise InputError(_refused(address, error)) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own in this place
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Ray itself would try for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--ray: no cluster answers at '{address}' ({reason}); {START}") from error


def _refused(address: str | None, error: Exception) -> str:
    words = " ".join(str(error).split())
    if "ersion mismatch" in words or "python version" in words.lower():
        return (
            f"--ray: the cluster runs another version of Ray or Python than this process ({words:.300}); use the "
            "same environment on all machines"
        )
    if isinstance(error, ImportError):
        return "--ray: an address of the form ray:// needs pip install 'ray[client]'; use HOST:PORT of the head"
    return f"--ray: no cluster can be used at '{address or 'this machine'}' ({words:.300}); {START}"


def _nodes() -> list[dict[str, Any]]:
    """Those that can work."""
    import ray

    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node for node in every if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise InputError("--ray: the cluster has no node with CPUs; add one with: ray start --address HOST:PORT")
    return nodes


class Share(NamedTuple):
    """What one task claims, and how many find room at a time."""

    cpus: int
    gpus: int
    tasks: int


def share_of(workers: int | None, gpu: bool) -> Share:
    """Of the nodes that are there: one task a node with its cores, or one for each GPU where models need one.

    ``workers``: of a job, instead of the cores of the smallest node; ``gpu``: whether its models would use one.
    """
    resources = [node["Resources"] for node in _nodes()]
    rooms = [(int(each["CPU"]), int(each.get("GPU", 0))) for each in resources]
    gpu = gpu and any(gpus for _, gpus in rooms)
    rooms = [(cpus, gpus) for cpus, gpus in rooms if gpus or not gpu]
    least = max(1, min(cpus // gpus if gpu else cpus for cpus, gpus in rooms))
    cpus = min(workers or least, least)
    tasks = sum(min(room // cpus, gpus) if gpu else room // cpus for room, gpus in rooms)
    return Share(cpus, int(gpu), tasks)


def check_nodes(library: Library, directory: Path) -> None:
    """Refuse a cluster with a node that lacks this version of mee, or sees another library or store.

    ``directory``: of a store that exists.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token, video = directory / f".ray-{uuid4().hex}", library.root / library.videos[0]
    ours = (_version(), stamp_of(video), True)

    def look() -> tuple[Any, ...]:  # is sent whole, for a node that has no mee
        from importlib.metadata import PackageNotFoundError, version

        try:
            from features.media import stamp_of

            return version("mee"), stamp_of(video), token.exists()
        except (ImportError, PackageNotFoundError):
            return "", None, False

    nodes = {node["NodeID"]: node for node in _nodes()}
    token.touch()
    try:
        there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
        looks = [ray.remote(num_cpus=0)(look).options(scheduling_strategy=each).remote() for each in there]
        ray.wait(looks, num_returns=len(looks), timeout=LOOK_S)
        for (own_id, node), ref in zip(nodes.items(), looks):
            name = f"--ray: the node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            try:
                mee, stamp, sees = ray.get(ref, timeout=0)
            except (ray.exceptions.RayError, TimeoutError) as error:
                if own_id not in {each["NodeID"] for each in _nodes()}:  # it was lost, which Ray notices late
                    continue
                raise InputError(
                    f"{name} does not answer ({type(error).__name__}); remove it, or repair it"
                ) from error
            if mee != ours[0]:
                found = f"mee {mee}" if mee else "no mee"
                raise InputError(f"{name} has {found}, this process mee {ours[0]}; install the same on all nodes")
            if stamp != ours[1]:
                raise InputError(
                    f"{name} does not see '{video}' as it is here; give all nodes the library at the same place, "
                    "on a shared file system"
                )
            if not sees:
                raise InputError(
                    f"{name} does not see the store '{directory}'; put it on a file system that all nodes share, "
                    "or run mee precompute --shard i/n on each node with a store of its own, then mee store merge"
                )
    finally:
        with suppress(OSError):
            token.unlink()


def _version() -> str:
    try:
        return version("mee")
    except PackageNotFoundError:
        return ""
