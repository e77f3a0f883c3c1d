"""Cluster: a connection to Ray that says nothing but what is wrong, in one sentence."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from mee.errors import InputError

REACH_S = 5.0  # within which the head of a cluster takes a connection
STORE = 100 << 20  # bytes of the object store of a cluster that is started here: clips never enter it
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}  # no statistics, no lines of workers


@contextmanager
def connected(address: str = "") -> Iterator[None]:
    """Connect to a cluster, and leave it at the end.

    address: HOST:PORT of its head, of which this machine is a node; "": the cluster that runs on this machine, or
    else one of this machine alone, which ends with it.

    Raises:
        InputError: Ray is missing, nothing answers there, this machine is no node, or a version differs.
    """
    if find_spec("ray") is None:
        raise InputError("--ray needs the package ray: pip install 'mee[ray]'")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray
    from ray._private.utils import read_ray_address  # Ray itself tries for minutes where a cluster was

    address = address or os.environ.get("RAY_ADDRESS", "")
    if address:
        _reach(address)
    elif found := read_ray_address():
        with suppress(InputError):
            _reach(found)
            address = found
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
    own: dict[str, Any] = {} if address else {"object_store_memory": STORE, "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address or "local", **quiet, **own)
    except Exception as error:
        reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".:")
        raise InputError(
            f"Ray{address and f' at {address!r}'} cannot be used ({reason:.300}); this machine must be a node of "
            "the cluster, with the same versions of Python and Ray: ray start --address=HOST:PORT"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():  # Ray takes the signal for itself
            signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), REACH_S):
            pass
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", "") or ("no answer" if isinstance(error, OSError) else "not HOST:PORT")
        raise InputError(
            f"no Ray cluster answers at '{address}' ({reason}); name its head as HOST:PORT, or start one: "
            "ray start --head"
        ) from None
