"""Writes scores the way other systems might: every format that mee.external_scores.formats names."""

import json

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

MATRIX_FORMATS = ("npy", "npy-fortran", "npz", "npz-deflated", "safetensors", "wide", "wide-index", "long")
TABLE_FORMATS = ("npy", "npz", "npz-deflated", "safetensors")


def save_ids(folder, query_ids, clip_ids):
    """Two id files, as arguments of read_scores."""
    for name, ids in (("queries.txt", query_ids), ("clips.txt", clip_ids)):
        (folder / name).write_text("".join(f"{each}\n" for each in ids), encoding="utf-8")
    return {"query_ids": folder / "queries.txt", "clip_ids": folder / "clips.txt"}


def save_arrays(path, arrays, query_ids, clip_ids, deflated=False):
    """One .npz or .safetensors with its ids."""
    if path.suffix == ".npz":
        ids = {"query_ids": np.array(query_ids), "clip_ids": np.array(clip_ids)}
        (np.savez_compressed if deflated else np.savez)(path, **arrays, **ids)
    else:
        tensors = {name: torch.tensor(array).contiguous() for name, array in arrays.items()}
        ids = {"query_ids": json.dumps(list(query_ids)), "clip_ids": json.dumps(list(clip_ids))}
        save_file(tensors, path, metadata=ids)
    return path


def save_matrix(folder, how, matrix, query_ids, clip_ids, shuffle=None):
    """A score matrix; returns the path and what else read_scores must be told."""
    match how:
        case "npy" | "npy-fortran":
            np.save(folder / "s.npy", matrix if how == "npy" else np.asfortranarray(matrix))
            return folder / "s.npy", save_ids(folder, query_ids, clip_ids)
        case "npz" | "npz-deflated" | "safetensors":
            path = folder / f"s.{how.partition('-')[0]}"
            return save_arrays(path, {"scores": matrix}, query_ids, clip_ids, how.endswith("deflated")), {}
        case "wide":
            table = pd.DataFrame(matrix, columns=list(clip_ids))
            table.insert(len(clip_ids) // 2, "query_id", list(query_ids))
        case "wide-index":
            table = pd.DataFrame(matrix, columns=list(clip_ids), index=list(query_ids))
        case "long":
            rows, columns = np.indices(matrix.shape)
            table = pd.DataFrame(
                {
                    "query_id": np.array(query_ids, dtype=object)[rows.ravel()],
                    "clip_id": np.array(clip_ids, dtype=object)[columns.ravel()],
                    "score": matrix.ravel(),
                }
            )
            if shuffle is not None:
                table = table.iloc[shuffle.permutation(len(table))]
    table.to_parquet(folder / "s.parquet")
    return folder / "s.parquet", {}


def save_tables(folder, how, text, video, query_ids, clip_ids):
    """Two embedding tables; returns as save_matrix does."""
    if how == "npy":
        np.save(folder / "t.npy", text)
        np.save(folder / "v.npy", video)
        return folder / "t.npy", {"video": folder / "v.npy", **save_ids(folder, query_ids, clip_ids)}
    path = folder / f"s.{how.partition('-')[0]}"
    return save_arrays(path, {"text": text, "video": video}, query_ids, clip_ids, how.endswith("deflated")), {}
