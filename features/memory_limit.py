"""A process's limit of address space, and the signs that a file has run into it.

Libraries say in many ways that memory is used up, and decoders often do not say it at all: the picture that they
had no room for counts as damaged. So a file with damage during which the process came NEAR its limit is taken for
one that needs more memory, not for a damaged one. The system tells how near a process ever came, not when: one
that came near must not do another file.
"""

from __future__ import annotations

import errno
import re
import resource
import sys
from pathlib import Path

from features.errors import InputError

LEAST_GB = 0.5  # that a worker must have left when it opens its first file; more than NEAR
NEAR = 320 << 20  # bytes; a decoder asks for one picture at a time: 100 megapixels of three bytes
CV2_NO_MEMORY = -4  # OpenCV's Error::StsNoMem


def limit_memory(memory_gb: float) -> None:
    """Bound this process's address space; what is loaded by now counts.

    Raises:
        InputError: no room would be left for a file.
    """
    if sys.platform != "linux":
        return
    taken = _address_space("VmSize") / 2**30
    if memory_gb < taken + LEAST_GB:
        raise InputError(
            f"a worker process takes {taken:.2f} GB before it opens a file; give it at least "
            f"--memory {taken + LEAST_GB + 0.05:.1f}, not {memory_gb:g}"
        )
    limit, hard = int(memory_gb * 2**30), resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def came_near() -> bool:
    """Whether this process has ever had nearly as much as it may."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return sys.platform == "linux" and limit != resource.RLIM_INFINITY and _address_space("VmPeak") > limit - NEAR


def is_memory_error(error: Exception) -> bool:
    """Whether an error says, in whichever library's way, that memory is used up."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, MemoryError) or getattr(error, "code", None) == CV2_NO_MEMORY


def _address_space(name: str) -> int:
    match = re.search(rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1]) << 10 if match else 0
