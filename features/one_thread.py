"""One thread a worker process: the processes are the parallelism.

Several pools of threads on few cores mostly wait for each other in busy loops.
"""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def use_one_thread() -> None:
    """Limit the numerical libraries of this process, those that are loaded and those still to come."""
    for variable in VARIABLES:
        os.environ[variable] = "1"
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(limits=1)
