"""The rank file: what every query got, so that others can check a result.

    query_id, rank, right_clip_id, top_1, …, top_10, score_1, …, score_10        .csv or .parquet, a row a query

rank            expected rank of the best-scored right clip; halves where it ties with wrong ones
right_clip_id   that clip
top_k, score_k  the k-th answer and its score; empty where the gallery has fewer clips

In .csv a score is the shortest number that gives back the same float, of the type that was compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mee.evaluation.measure import ANSWERS, Measured
from mee.files import whole_file


def write_ranks(path: Path, measured: Measured) -> None:
    """Write it whole, or not at all.

    Raises:
        InputError: the path cannot be written to.
    """
    import pandas as pd

    top, names = measured.top, np.array(measured.names.clip_ids, dtype=object)
    count, found = top.candidate.shape
    ids, scores = np.full((count, ANSWERS), None), np.full((count, ANSWERS), np.nan, top.score.numpy().dtype)
    ids[:, :found], scores[:, :found] = names[top.candidate.numpy()], top.score.numpy()
    texts = {"query_id": measured.query_ids, "right_clip_id": names[measured.right.numpy()]}
    texts |= {f"top_{k + 1}": ids[:, k] for k in range(ANSWERS)}
    with whole_file(path, "ranks") as aside:
        table = pd.DataFrame(texts, dtype="string")
        table.insert(1, "rank", measured.ranking.t2v.rank.cpu().numpy())
        table = table.assign(**{f"score_{k + 1}": scores[:, k] for k in range(ANSWERS)})
        if path.suffix.lower() == ".csv":
            table.to_csv(aside, index=False, lineterminator="\r\n")  # RFC 4180: a lone \r in a name is quoted, too
        else:
            table.to_parquet(aside, index=False)
