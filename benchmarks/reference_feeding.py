"""The reference network's training, fed the way its repository feeds it.

A dataset gives one clip at a time as a dict of numpy arrays: streams and a flag each, zeros where one is missing;
audio padded or cut to 30 rows; a random caption of the clip, its words looked up one by one in a dict of vectors
and padded with zeros to 30. torch's DataLoader collates them; the optimiser is torch's Adam as it comes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.random_clips import MAX_WORDS, SHAPES, WORD_DIM, RandomClips
from benchmarks.reference_network import ReferenceLoss, ReferenceNetwork

MODALITY = {"visual": "appearance", "motion": "motion", "audio": "audio", "face": "face"}  # their name -> ours
SIZES = {"face": (128, 128), "audio": (128 * 16, 128), "visual": (2048, 2048), "motion": (1024, 1024)}
Item = dict[str, Any]


class ClipDataset(Dataset[Item]):
    """One random caption a clip."""

    def __init__(self, clips: RandomClips) -> None:
        self.clips, self.names = clips, list(clips.clips.index)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Item:
        name = self.names[number]
        caption = random.choice(self.clips.captions[name])
        words = [self.clips.vectors[word] for word in caption.split() if word in self.clips.vectors]
        text = np.zeros((MAX_WORDS, WORD_DIM), dtype=np.float32)
        for place, vector in enumerate(words[:MAX_WORDS]):
            text[place] = vector
        video, available = {}, {}
        for theirs, ours in MODALITY.items():
            length, dim = SHAPES[ours]
            stream = self.clips.streams[ours].get(name)
            available[theirs] = np.float32(stream is not None)
            padded = np.zeros((length, dim), dtype=np.float32)
            if stream is not None:
                kept = min(length, len(stream))
                padded[:kept] = stream[:kept]
            video[theirs] = padded if length > 1 else padded[0]
        return {"text": text, "video": video, "available": available}


class ReferenceTraining:
    """The baseline: `run(n)` does n steps."""

    def __init__(self, clips: RandomClips, batch_size: int, workers: int, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        random.seed(seed)
        self.device = device
        self.network = ReferenceNetwork(SIZES, WORD_DIM, 32, 16).to(device).train()
        self.loss = ReferenceLoss()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=4e-4)
        self.loader = DataLoader(ClipDataset(clips), batch_size=batch_size, shuffle=True, num_workers=workers)
        self.batches = self._endless()

    def run(self, steps: int) -> float:
        """Train on. Returns the last step's loss."""
        value = 0.0
        for batch in islice(self.batches, steps):
            text = batch["text"].to(self.device)
            video = {name: stream.to(self.device) for name, stream in batch["video"].items()}
            available = {name: flag.to(self.device) for name, flag in batch["available"].items()}
            self.optimizer.zero_grad()
            loss = self.loss(self.network(text, video, available))
            loss.backward()
            self.optimizer.step()
            value = loss.item()
        return value

    def _endless(self) -> Iterator[Item]:
        while True:
            yield from self.loader
