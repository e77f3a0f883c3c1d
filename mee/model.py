"""MEE, the Mixture of Embedding Experts: a text encoder, and two gated units for each modality.

    text:  h = encoder(sentence);  t_m = GEU_m(h, or h of the expert's own text tower);  l = U h + c;  o
    video: x_m = GEU'_m(dropout(inputs(standardise(pool(stream_m)))))
    words: x_mr = GEU'_m(dropout(h of utterance r))     by the text encoder that t_m comes from, which is frozen

Miech, Laptev, Sivic (arXiv 1804.02516). `mee.scoring` turns t, l, o, x and availability into scores; the offsets
o, one for each expert, stay 0 where weights are renormalised. A pooling that learns gets its stream's rows
standardised instead, before it. An expert without a text side has t = 0 and l = -inf, and does not learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.config import NO_TEXT, ExpertConfig, ModelConfig, tower_settings
from mee.errors import InputError
from mee.layers import GatedEmbeddingUnit, Kernel, Names, Pool, Standardise
from mee.layout import Layout
from mee.scoring import mee_scores
from mee.streams import Clips, Ragged, Sentences, Streams, availability
from mee.text import Reader, TextEncoder, as_declared, encoder_class, tower_class
from mee.weights import Checkpointed

MAIN = ""  # the text encoder's name among the towers; the others have their experts' names
CHUNK = 8192  # sentences tokenized together
FLOOR = 1e-4  # added to probabilities before their logarithm


@dataclass(frozen=True)
class TextEmbedding:
    """Q encoded sentences."""

    packed: Tensor  # (Q, E), unit-norm for each expert
    logits: Tensor  # (Q, M) mixture logits; -inf: the sentence does not reach the expert
    offsets: Tensor  # (Q, M) taken from each similarity

    def __getitem__(self, rows: Tensor) -> TextEmbedding:
        """Some of them, by (n,) int64 numbers."""
        rows = rows.to(self.packed.device)
        return TextEmbedding(self.packed[rows], self.logits[rows], self.offsets[rows])


@dataclass(frozen=True)
class VideoEmbedding:
    """G encoded clips."""

    # (G, E), unit-norm for each present expert; zeros, never read, where a stream is missing; of words, too
    packed: Tensor
    available: Tensor  # (G, M) bool
    words: Mapping[str, Ragged] = field(default_factory=dict)  # of `Layout.words`: G streams of unit-norm rows

    def __getitem__(self, rows: Tensor) -> VideoEmbedding:
        """Some of them, by (n,) int64 numbers or a (G,) bool mask."""
        words = {}
        if self.words:
            numbers = (rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows).cpu()
            words = {name: of_clips.only(numbers) for name, of_clips in self.words.items()}
        return VideoEmbedding(self.packed[rows], self.available[rows], words)


class VideoExpert(nn.Module):
    """The video side of one expert: pooling, standardisation and gated unit of one modality."""

    def __init__(self, config: ExpertConfig, dropout: float, text_dim: int) -> None:
        super().__init__()
        self.embed_dim, self.dropout, self.fits = config.embed_dim, dropout, config.standardise
        self.columns, self.named, self.featured = config.input_dim, config.named, config.feature_dim > 0
        self.pool = Pool(config.pooling, config.input_dim)
        self.standardise = Standardise(config.input_dim if self.pool.learns else config.feature_dim)
        self.kernel = Kernel(config.feature_dim, config.components, config.centres) if config.centres else None
        self.names = Names(config.named, text_dim) if config.named else None
        inputs = (config.centres or config.feature_dim) + (text_dim if config.named else 0)
        self.unit = GatedEmbeddingUnit(inputs, config.embed_dim)

    def forward(self, streams: Streams) -> Tensor:
        """B streams -> (B, embed_dim); zeros where a stream is missing, which the unit never sees."""
        present = streams.available
        inputs = F.dropout(self.inputs(self.pooled(streams)), self.dropout, self.training)
        embedded: Tensor = self.unit(inputs)
        return embedded.new_zeros(len(present), self.embed_dim).index_put((present,), embedded)

    def pooled(self, streams: Streams) -> Tensor:
        """(B present streams, pooled_dim); of rows that are standardised before a pooling that learns."""
        present = streams.available
        rows, lengths = streams.padded[present], streams.lengths[present]
        if streams.pooled:
            return rows[:, 0]
        pooled: Tensor = self.pool(self.standardise(rows) if self.pool.learns else rows, lengths)
        return pooled

    def features(self, pooled: Tensor) -> Tensor:
        """(B, pooled_dim) -> (B, feature_dim): the columns without a name, standardised."""
        features: Tensor = pooled if self.pool.learns else self.standardise(self._unnamed(pooled))
        return features

    def meaning(self, pooled: Tensor) -> Tensor:
        """(B, pooled_dim) -> (B, text_dim): what the named columns say, (B, 0) where there are none."""
        if self.names is None:
            return pooled[:, :0]
        meant: Tensor = self.names(pooled[:, self.columns - self.named : self.columns])
        return meant

    def inputs(self, pooled: Tensor) -> Tensor:
        """(B, pooled_dim) -> what the gated unit sees: features or their likeness to the centres, and meaning."""
        features = self.features(pooled)
        likeness: Tensor = self.kernel(features) if self.kernel else features
        return torch.cat([likeness, self.meaning(pooled)], dim=1)

    def _unnamed(self, pooled: Tensor) -> Tensor:
        if not self.featured:
            return pooled[:, :0]
        if self.named == self.columns:  # nothing else is there: the log tells small probabilities apart
            return (pooled.clamp(min=0) + FLOOR).log()
        by_kind: Tensor = pooled.unflatten(1, (-1, self.columns))
        return by_kind[..., : self.columns - self.named].flatten(1)

    def fit(self, blocks: Iterable[Ragged]) -> None:
        """Set mean and deviation from the training clips' streams, as `mee.encode.load_streams` returns them."""
        if self.fits:
            rows = (block.values.float() for block in blocks)
            self.standardise.fit(rows if self.pool.learns else map(self._unnamed, rows))


class WordsExpert(nn.Module):
    """The video side of an expert of words: a gated unit, on the text vector of each utterance."""

    def __init__(self, config: ExpertConfig, dropout: float) -> None:
        super().__init__()
        self.dropout, self.unit = dropout, GatedEmbeddingUnit(config.embed_dim, config.embed_dim)

    def forward(self, streams: Streams) -> Ragged:
        """B streams of text vectors -> as many streams of unit-norm rows (n, embed_dim)."""
        padded, lengths = streams.padded, streams.lengths
        rows = padded[torch.arange(padded.shape[1], device=lengths.device) < lengths[:, None]]
        embedded: Tensor = self.unit(F.dropout(rows, self.dropout, self.training))
        return Ragged(embedded, F.pad(lengths.cumsum(0), (1, 0)).cpu())


class NoText(nn.Module):
    """The text side of an expert that no sentence reaches: (Q, …) -> (Q, embed_dim) zeros."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim

    def forward(self, h: Tensor) -> Tensor:
        return h.new_zeros(len(h), self.embed_dim)


class MEE(Checkpointed):
    """The whole model; `save_pretrained`, `from_pretrained` and `push_to_hub` come from `mee.weights`."""

    def __init__(
        self, config: ModelConfig, text_encoder: TextEncoder, towers: Mapping[str, TextEncoder] | None = None
    ) -> None:
        """Put a model together, with random weights.

        The text encoder is the input of the mixture, and of every expert without a text tower of its own; `towers`
        are those of the others, by expert.
        """
        super().__init__()
        self.config = config
        names, sizes = zip(*((expert.name, expert.embed_dim) for expert in config.experts))
        words = tuple(expert.name for expert in config.experts if expert.words)
        self.layout = Layout(names, sizes, config.missing, words)
        self.asked = tuple(expert.text != NO_TEXT for expert in config.experts)  # by sentences
        self.text_encoder = text_encoder
        self.towers = nn.ModuleDict(towers or {})
        own = {expert.name for expert in config.experts if expert.own_tower}
        if own != set(self.towers):
            raise ValueError(f"the settings name text towers for {sorted(own)}, given are {sorted(self.towers)}")
        self.text_experts = nn.ModuleList(
            GatedEmbeddingUnit(self.tower_of(expert.name).dim, expert.embed_dim)
            if asked
            else NoText(expert.embed_dim)
            for expert, asked in zip(config.experts, self.asked)
        )
        self.video_experts = nn.ModuleList(
            WordsExpert(expert, config.dropout)
            if expert.words
            else VideoExpert(expert, config.dropout, self.tower_of(expert.name).dim)
            for expert in config.experts
        )
        self.mixture = make_gate(text_encoder.dim, config.gate, len(config.experts))
        self.offset = nn.Parameter(torch.zeros(len(names)), requires_grad=config.missing == "evidence")
        self._start()

    @classmethod
    def learn(cls, config: ModelConfig, captions: Sequence[str]) -> MEE:
        """A new model whose text encoder has the training captions' vocabulary, or is a pretrained one.

        Raises:
            InputError: a pretrained text model is not there, or cannot be used.
        """
        config = replace(config, text=as_declared(config.text))
        own = [expert for expert in config.experts if expert.own_tower]
        towers = {each.name: tower_class().learn(tower_settings(each.text), captions) for each in own}
        return cls(config, encoder_class(config.text).learn(config.text, captions), towers)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The experts' names in the order of the M axis."""
        return self.layout.names

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.offset.device

    @property
    def all_towers(self) -> dict[str, TextEncoder]:
        """Every text encoder: MAIN, and the experts' own."""
        return {MAIN: self.text_encoder, **{name: self.tower_of(name) for name in self.towers}}

    @cached_property
    def readers(self) -> list[Reader]:
        """How its text encoders read sentences."""
        return [reader for tower in self.all_towers.values() if (reader := tower.reader())]

    def tower_of(self, expert: str) -> TextEncoder:
        """The text encoder of an expert."""
        return cast(TextEncoder, self.towers[expert]) if expert in self.towers else self.text_encoder

    def tokenize(self, sentences: Sequence[str], folder: Path | None = None) -> dict[str, Ragged]:
        """Every tower's input for some sentences, token ids or frozen token vectors; training keeps it.

        `folder`: for a temporary file, see `Ragged.gather`.

        Raises:
            InputError: a sentence is empty.
        """
        starts = range(0, max(1, len(sentences)), CHUNK)
        chunks = [sentences[start : start + CHUNK] for start in starts]
        return {
            name: Ragged.gather(
                (Ragged.of(tower.tokenize(tower.prompted(chunk)), tower.like) for chunk in chunks), folder
            )
            for name, tower in self.all_towers.items()
        }

    def encode_text(self, tokens: Sentences) -> TextEmbedding:
        """Encode Q sentences, given as `tokenize` returns them."""
        h = {}
        for name, tower in self.all_towers.items():
            streams = tokens[name].to(self.device)
            h[name] = F.dropout(tower(streams.padded, streams.lengths), self.config.dropout, self.training)
        return self.text_of(h)

    def text_of(self, h: Mapping[str, Tensor]) -> TextEmbedding:
        """What Q sentences are by their (Q, dim) vectors of each text encoder."""
        inputs = (h[name if name in h else MAIN] for name in self.modalities)
        packed = torch.cat([unit(vectors) for unit, vectors in zip(self.text_experts, inputs)], dim=1)
        logits = self.mixture(h[MAIN])
        if not all(self.asked):
            logits = logits.masked_fill(~torch.tensor(self.asked, device=logits.device), -torch.inf)
        return TextEmbedding(packed, logits, self.offset.expand(logits.shape))

    def encode_video(self, clips: Clips) -> VideoEmbedding:
        """Encode G clips; the order of the mapping does not matter, streams of other modalities are not read."""
        streams = {modality: clips[modality].to(self.device) for modality in self.modalities}
        found = {name: expert(streams[name]) for name, expert in zip(self.modalities, self.video_experts)}
        words = {name: found[name] for name in self.layout.words}
        for name, rows in words.items():
            found[name] = rows.values.new_zeros(len(rows), rows.values.shape[1])
        return VideoEmbedding(
            torch.cat(list(found.values()), dim=1), availability(streams, self.modalities), words
        )

    def forward(self, sentences: Sequence[str], clips: Clips) -> Tensor:
        """(Q, G) scores of Q sentences against G clips; see mee.encode for more than fit in memory."""
        text = self.encode_text({name: ragged.all() for name, ragged in self.tokenize(sentences).items()})
        video = self.encode_video(clips)
        return mee_scores(
            text.packed, video.packed, text.logits, video.available, self.layout, text.offsets, video.words
        )

    def expert(self, modality: str) -> VideoExpert:
        """The video side of one expert; not of words."""
        return cast(VideoExpert, self.video_experts[self.modalities.index(modality)])

    def text_unit(self, modality: str) -> GatedEmbeddingUnit:
        """The text side of one expert that has one."""
        return cast(GatedEmbeddingUnit, self.text_experts[self.modalities.index(modality)])

    def with_settings(self, config: ModelConfig) -> MEE:
        """A new model with other experts, random, and the same text encoders."""
        towers = {name: tower for name, tower in self.all_towers.items() if name != MAIN}
        return MEE(config, self.text_encoder, towers)

    def set_gate(self, gate: nn.Module) -> None:
        """Replace the map from a sentence to its mixture logits, by one of `make_gate`."""
        hidden = cast(nn.Linear, gate[0]).out_features if isinstance(gate, nn.Sequential) else 0
        self.mixture, self.config = gate, replace(self.config, gate=hidden)

    def _start(self) -> None:
        """Initialise experts that start as the identity; where any is aligned, mixture weights begin equal."""
        for expert, text, video in zip(self.config.experts, self.text_experts, self.video_experts):
            if expert.start == "identity":
                cast(GatedEmbeddingUnit, video.unit).start_as_identity()
            if isinstance(text, NoText):
                video.requires_grad_(False)
            elif expert.start == "identity":
                tower, name = self.tower_of(expert.name), expert.text or self.config.text.encoder
                if tower.dim != expert.embed_dim:
                    size = f"{'embed-dim is' if expert.words else 'stream'} {expert.embed_dim}"
                    raise InputError(
                        f"'{expert.name}' cannot start as identity: its text tower '{name}' gives "
                        f"{tower.dim} columns, its {size}"
                    )
                if expert.words and any(parameter.requires_grad for parameter in tower.parameters()):
                    raise InputError(
                        f"'{expert.name}' holds words, and the text encoder '{name}' learns; name a frozen one, "
                        "such as a pretrained sentence encoder"
                    )
                cast(GatedEmbeddingUnit, text).start_as_identity()
        if any(expert.start != "random" for expert in self.config.experts):
            last = [module for module in self.mixture.modules() if isinstance(module, nn.Linear)][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


def make_gate(dim: int, hidden: int, experts: int) -> nn.Module:
    """(Q, dim) sentences -> (Q, experts) mixture logits: a linear map, or one hidden layer."""
    if not hidden:
        return nn.Linear(dim, experts)
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, experts))
