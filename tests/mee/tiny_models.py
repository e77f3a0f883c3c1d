"""Tiny pretrained models with random weights, saved in the hub's format, as if they had been downloaded."""

from pathlib import Path

import numpy as np
import torch
import transformers as hub
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SENTENCE = (
    "a red blue green white circle square star dog cat moves left right stands still turns someone something "
    "plays the drums rain barking singing barks twice falls on tin roof with and"
)
WORDS = SENTENCE.split()
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]  # 0, 1, 2, 3
VOCABULARY = len(SPECIAL) + len(WORDS) + 1
START, END = 1, VOCABULARY - 1  # CLIP takes the state at the largest id


def tokenizer(*, brackets: bool = True, padding: bool = True, longest: int = 64) -> hub.PreTrainedTokenizerFast:
    """One word, one token; `brackets` puts a sentence between two, as BERT does; decoders often do not pad."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS, "<end>"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if brackets:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A <end>", special_tokens=[("<s>", START), ("<end>", END)]
        )
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "<end>"}
    if padding:
        names["pad_token"] = "<pad>"
    return hub.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=longest, **names)


SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
WORD_IDS = {"vocab_size": VOCABULARY}
TEXT = {**SMALL, **WORD_IDS, "num_hidden_layers": 2}
IDS = {"pad_token_id": 0, "bos_token_id": START, "eos_token_id": END}
PICTURES = {**SMALL, "num_hidden_layers": 2, "image_size": 16, "patch_size": 8}
DROPPING = {"hidden_dropout_prob": 0.5}  # so that dropout, were it on, would show
BART_SIDE = {"layers": 2, "attention_heads": 2, "ffn_dim": 24}
BART_SIDES = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in BART_SIDE.items()}
TWELVE = {**TEXT, "max_position_embeddings": 12, "projection_size": 16}
NO_LONGEST = {"longest": int(1e30)}
DECODER = {"brackets": False, "padding": False}


CLIP, CLAP = {"projection_dim": 12}, {"projection_dim": 10}  # columns of both halves
CLIP_TEXT = {**TEXT, **IDS, **CLIP, "max_position_embeddings": 20}
CLAP_TEXT = {**TEXT, **CLAP, "max_position_embeddings": 24, "pad_token_id": 0}
SOUNDS = {"hidden_size": 16, "depths": [1, 1], "num_attention_heads": [1, 2], "num_hidden_layers": 2, **CLAP}
SOUNDS |= {"spec_size": 32, "patch_size": 4, "patch_stride": [4, 4], "patch_embeds_hidden_size": 8}
SOUNDS |= {"num_mel_bins": 8, "window_size": 4, "enable_fusion": False}
GPT2 = {**WORD_IDS, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32, "bos_token_id": 1}
LLAMA = {**TEXT, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32}
FAMILIES = {  # the model, its settings, those of its tokenizer
    # with its language model's head, as most of them are on the hub: no pooler, surplus weights
    "bert": ("BertForMaskedLM", {**TEXT, **DROPPING, "num_hidden_layers": 3, "max_position_embeddings": 20}, {}),
    # with its pooler; 18 positions, of which two are not for words
    "roberta": ("RobertaModel", TEXT | DROPPING | {"max_position_embeddings": 18, "pad_token_id": 1}, NO_LONGEST),
    # it sees backwards only, ties its head to its words, and has no padding token
    "gpt2": ("GPT2LMHeadModel", GPT2, DECODER),
    # a decoder with rotary positions and grouped keys
    "llama": ("LlamaForCausalLM", LLAMA, DECODER),
    # encoder and decoder that share their words; relative positions, so no longest sentence
    "t5": (
        "T5ForConditionalGeneration",
        {**WORD_IDS, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}
        | {"num_decoder_layers": 2, "dropout_rate": 0.5, "decoder_start_token_id": 0},
        NO_LONGEST,
    ),
    # its settings say -1 for a longest sentence
    "xlnet": ("XLNetModel", {**WORD_IDS, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}, NO_LONGEST),
    # its layers share their weights
    "albert": ("AlbertModel", {**TEXT, "embedding_size": 8, "max_position_embeddings": 32}, {}),
    # an encoder-decoder without a class for its encoder alone
    "bart": ("BartModel", {**WORD_IDS, "d_model": 16, "max_position_embeddings": 32, **BART_SIDES}, {}),
    "clip": ("CLIPModel", {"text_config": CLIP_TEXT, "vision_config": PICTURES | CLIP, **CLIP}, {"longest": 20}),
    "clap": ("ClapModel", {"text_config": CLAP_TEXT, "audio_config": SOUNDS, **CLAP}, {"longest": 20}),
    "siglip": ("SiglipModel", {"text_config": TWELVE, "vision_config": PICTURES}, {}),  # pads to 12 tokens
    "vit": ("ViTModel", PICTURES, {}),  # it reads no text, and has a tokenizer all the same
}


def save(family: str, directory: Path, seed: int = 0) -> Path:
    """Weights are larger than a training's start, so that what a model computes depends on its input."""
    name, settings, words = FAMILIES[family]
    kind = getattr(hub, name)
    directory.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(kind.config_class(**settings))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    tokenizer(**words).save_pretrained(directory)
    return directory


def save_vectors(path: Path, form: str = "text", *, words=WORDS, columns: int = 6, seed: int = 0) -> dict:
    """A file of word vectors: form is text, binary or glove. Returns word -> vector."""
    vectors = np.random.default_rng(seed).normal(size=(len(words), columns)).astype(np.float32)
    with path.open("wb") as file:
        if form != "glove":
            file.write(f"{len(words)} {columns}\n".encode())
        for word, vector in zip(words, vectors):
            if form == "binary":
                file.write(word.encode() + b" " + vector.tobytes() + b"\n")
            else:
                file.write((word + " " + " ".join(repr(float(number)) for number in vector) + "\n").encode())
    return dict(zip(words, vectors))
