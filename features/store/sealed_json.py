"""JSON that tells whether it is what was written.

{..., "sha256": SHA-256 of the other entries as json.dumps gives them, keys sorted}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

SEAL = "sha256"


def sealed(content: Mapping[str, Any]) -> bytes:
    """A file with these entries and their seal."""
    return (json.dumps({**content, SEAL: _digest(content)}, indent=2) + "\n").encode()


def is_unbroken(text: bytes, earlier: Collection[str]) -> bool | None:
    """Whether a file is what was written; None where nobody can tell.

    Args:
        text: the file.
        earlier: the entries that such a file had when it had no seal yet. One without a seal that has others has
            lost it.

    Raises:
        ValueError: it is no JSON.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        return False
    if SEAL not in content:
        return None if content.keys() <= set(earlier) else False
    return bool(content.pop(SEAL) == _digest(content))


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
