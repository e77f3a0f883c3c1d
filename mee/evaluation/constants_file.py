"""Clip constants of QB-Norm or NNN as a file, for an index to carry: a row a clip.

    clip_id    whose it is
    constant   taken from its scores
    active     QB-Norm: only queries whose best clip by the plain score is an active one change; NNN: always true

Parquet; its metadata "mee.evaluation.normalisation" is the method, the bank and the parameters as a result has
them, in JSON. One more component of a packed vector does it: [x, constant] . [t, -1] = x . t - constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mee.errors import InputError
from mee.evaluation.result import Normalisation
from mee.files import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

    from mee.ranking.normalise import ClipConstants

METADATA = "mee.evaluation.normalisation"
LARGEST = 1e6  # scores are at most 1, and float32 would round them away beside a larger constant


@final
@dataclass(frozen=True)
class FileConstants:
    """What a file of constants says."""

    path: Path
    facts: Normalisation
    clip_ids: tuple[str, ...]  # each once
    constant: NDArray[np.float32]  # (N,)
    active: NDArray[np.bool_]  # (N,)

    def of(self, clip_ids: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Constants of some clips, and which of them are active.

        Raises:
            InputError: a clip has none, or one that cannot be taken from a score.
        """
        row_of = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        absent = [clip_id for clip_id in clip_ids if clip_id not in row_of]
        if absent:
            raise InputError(
                f"{self.path} has no constant of {len(absent)} of {len(clip_ids)} clips, '{absent[0]}' among "
                "them; compute them over all clips: mee evaluate … --constants; of an index: mee gallery normalise"
            )
        rows = np.array([row_of[clip_id] for clip_id in clip_ids], dtype=np.int64)
        constant = self.constant[rows]
        wrong = np.flatnonzero(~(np.abs(constant) <= LARGEST))  # NaN is among them
        if len(wrong):
            raise InputError(
                f"{self.path} is damaged: the constant of '{clip_ids[wrong[0]]}' is {constant[wrong[0]]}; compute "
                "it again: mee evaluate … --constants"
            )
        return constant, self.active[rows]


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


def read_constants(path: Path) -> FileConstants:
    """Read what `write_constants` wrote.

    Raises:
        InputError: there is no such file, or it is no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(
            f"no constants at '{path}'; make them with: mee evaluate … --normalise.method nnn --constants"
        )
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise _unusable(path, (str(error).splitlines() or [type(error).__name__])[0]) from error
    return FileConstants(path, _facts(path, table), *_columns(path, table))


def _columns(path: Path, table: pa.Table) -> tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.bool_]]:
    import pyarrow as pa

    wanted = {"clip_id": pa.string(), "constant": pa.float32(), "active": pa.bool_()}
    for name, kind in wanted.items():
        if table.column_names.count(name) != 1 or table[name].type != kind or table[name].null_count:
            raise _unusable(path, f"it has no whole column '{name}' of type {kind}")
    clip_ids = tuple(table["clip_id"].to_pylist())
    if len(set(clip_ids)) != len(clip_ids):
        raise _unusable(path, "a clip has two rows")
    return clip_ids, table["constant"].to_numpy(), table["active"].to_numpy()


def _facts(path: Path, table: pa.Table) -> Normalisation:
    told = (table.schema.metadata or {}).get(METADATA.encode())
    if told is None:
        raise _unusable(path, f"it has no metadata '{METADATA}' that says what they are")
    try:
        facts = Normalisation.model_validate_json(told, strict=True)
    except ValidationError as error:
        raise _unusable(path, f"its metadata '{METADATA}' says nothing sensible") from error
    if facts.method not in ("qb-norm", "nnn"):
        raise _unusable(path, f"'{facts.method}' is no constant a clip")
    return facts


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} holds no constants that can be used ({reason}); make it again: mee evaluate … --constants"
    )
