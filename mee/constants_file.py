"""Clip constants of QB-Norm or NNN as a file, for an index to carry: a row a clip.

    clip_id    whose it is
    constant   taken from its scores
    active     QB-Norm: only queries whose best clip by the plain score is an active one change; NNN: always true

Parquet; its metadata "mee.normalisation" is the method, the bank and the parameters as a result has them, in JSON.
One more component of a packed vector does it: [x, constant] . [t, -1] = x . t - constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mee.errors import InputError
from mee.result import Normalisation
from mee.whole_file import whole_file

if TYPE_CHECKING:
    from mee.ranking.normalised import ClipConstants

METADATA = "mee.normalisation"


def write_constants(path: Path, clip_ids: Sequence[str], constants: ClipConstants, facts: Normalisation) -> None:
    """Write it whole, or not at all.

    Raises:
        InputError: the file is not called .parquet, or cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_constants_path(path)
    active = [True] * len(clip_ids) if constants.active is None else constants.active.cpu().tolist()
    columns = {"clip_id": list(clip_ids), "constant": constants.constant.cpu().numpy(), "active": active}
    with whole_file(path, "constants") as aside:
        pq.write_table(pa.table(columns, metadata={METADATA: facts.model_dump_json()}), aside)


def check_constants_path(path: Path) -> None:
    """Refuse early what `write_constants` would refuse late.

    Raises:
        InputError: the file is not called .parquet.
    """
    if path.suffix.lower() != ".parquet":
        raise InputError(f"constants are written as .parquet, so '{path}' cannot be; give it that ending")
