"""Writes scores the way other systems might: every format that mee.external_scores.read names."""

import json

import numpy as np
import torch
from safetensors.torch import save_file

MATRIX_FORMATS = ("npy", "npy-fortran", "npz", "npz-deflated", "safetensors")
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


def save_matrix(folder, how, matrix, query_ids, clip_ids):
    """A score matrix; returns the path and what else read_scores must be told."""
    if how.startswith("npy"):
        np.save(folder / "s.npy", matrix if how == "npy" else np.asfortranarray(matrix))
        return folder / "s.npy", save_ids(folder, query_ids, clip_ids)
    path = folder / f"s.{how.partition('-')[0]}"
    return save_arrays(path, {"scores": matrix}, query_ids, clip_ids, how.endswith("deflated")), {}


def save_tables(folder, how, text, video, query_ids, clip_ids):
    """Two embedding tables; returns as save_matrix does."""
    if how == "npy":
        np.save(folder / "t.npy", text)
        np.save(folder / "v.npy", video)
        return folder / "t.npy", {"video": folder / "v.npy", **save_ids(folder, query_ids, clip_ids)}
    path = folder / f"s.{how.partition('-')[0]}"
    return save_arrays(path, {"text": text, "video": video}, query_ids, clip_ids, how.endswith("deflated")), {}
