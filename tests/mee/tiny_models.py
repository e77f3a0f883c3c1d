"""Tiny pretrained models with random weights, saved in the hub's format, as if they had been downloaded."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AlbertConfig,
    AlbertModel,
    BartConfig,
    BartModel,
    BertConfig,
    BertForMaskedLM,
    ClapConfig,
    ClapModel,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    SiglipConfig,
    SiglipModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
    XLNetConfig,
    XLNetModel,
)

SENTENCE = (
    "a red blue green white circle square star dog cat moves left right stands still turns someone something "
    "plays the drums rain barking singing barks twice falls on tin roof with and"
)
WORDS = SENTENCE.split()
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]  # 0, 1, 2, 3
VOCABULARY = len(SPECIAL) + len(WORDS) + 1
START, END = 1, VOCABULARY - 1  # CLIP takes the state at the largest id


def tokenizer(*, brackets: bool = True, padding: bool = True, longest: int = 64) -> PreTrainedTokenizerFast:
    """One word, one token.

    Args:
        brackets: whether a sentence is put between two tokens of their own, as BERT, CLIP and CLAP do.
        padding: whether there is a padding token: decoders often have none.
        longest: model_max_length.
    """
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
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=longest, **names)


def save_bert(directory: Path, seed: int = 0) -> Path:
    """BERT with its language model's head, as most of them lie on the hub: no pooler, surplus weights."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
        hidden_dropout_prob=0.5,  # so that dropout, were it on, would show
    )
    return _save(BertForMaskedLM, config, tokenizer(), directory, seed)


def save_roberta(directory: Path, seed: int = 0) -> Path:
    """RoBERTa with its pooler; 18 positions, of which two are none."""
    config = RobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=18,
        pad_token_id=1,
        hidden_dropout_prob=0.5,
    )
    return _save(RobertaModel, config, tokenizer(longest=int(1e30)), directory, seed)


def save_gpt2(directory: Path, seed: int = 0) -> Path:
    """GPT-2: it sees backwards only, ties its head to its words, and has no padding token."""
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=3, n_head=2, n_positions=32, bos_token_id=1)
    return _save(GPT2LMHeadModel, config, tokenizer(brackets=False, padding=False), directory, seed)


def save_llama(directory: Path, seed: int = 0) -> Path:
    """Llama: a decoder with rotary positions and grouped keys."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    return _save(LlamaForCausalLM, config, tokenizer(brackets=False, padding=False), directory, seed)


def save_t5(directory: Path, seed: int = 0) -> Path:
    """T5: encoder and decoder that share their words; relative positions, so no longest sentence."""
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=3,
        num_decoder_layers=2,
        num_heads=2,
        dropout_rate=0.5,
        decoder_start_token_id=0,
    )
    return _save(T5ForConditionalGeneration, config, tokenizer(longest=int(1e30)), directory, seed)


def save_xlnet(directory: Path, seed: int = 0) -> Path:
    """XLNet, whose settings say -1 for a longest sentence."""
    config = XLNetConfig(vocab_size=VOCABULARY, d_model=16, n_layer=2, n_head=2, d_inner=24)
    return _save(XLNetModel, config, tokenizer(longest=int(1e30)), directory, seed)


def save_albert(directory: Path, seed: int = 0) -> Path:
    """ALBERT, whose layers share their weights."""
    config = AlbertConfig(
        vocab_size=VOCABULARY,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    return _save(AlbertModel, config, tokenizer(), directory, seed)


def save_bart(directory: Path, seed: int = 0) -> Path:
    """BART: an encoder-decoder without a class for its encoder alone."""
    config = BartConfig(
        vocab_size=VOCABULARY,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=32,
    )
    return _save(BartModel, config, tokenizer(), directory, seed)


def save_clip(directory: Path, seed: int = 0, *, width: int = 12) -> Path:
    """Both halves of CLIP, projected to `width` columns; pictures of 16 pixels."""
    shared = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
    text = {
        **shared,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 20,
        "projection_dim": width,
        "pad_token_id": 0,
        "bos_token_id": START,
        "eos_token_id": END,
    }
    vision = {**shared, "image_size": 16, "patch_size": 8, "projection_dim": width}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)
    return _save(CLIPModel, config, tokenizer(longest=20), directory, seed)


def save_clap(directory: Path, seed: int = 0, *, width: int = 10) -> Path:
    """Both halves of CLAP, projected to `width` columns."""
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "max_position_embeddings": 24,
        "projection_dim": width,
        "pad_token_id": 0,
    }
    audio = {
        "spec_size": 32,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "num_hidden_layers": 2,
        "num_mel_bins": 8,
        "window_size": 4,
        "projection_dim": width,
        "enable_fusion": False,
    }
    config = ClapConfig(text_config=text, audio_config=audio, projection_dim=width)
    return _save(ClapModel, config, tokenizer(longest=20), directory, seed)


def save_siglip(directory: Path, seed: int = 0) -> Path:
    """Both halves of SigLIP, whose sentences are padded to 12 tokens."""
    shared = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
    text = {**shared, "vocab_size": VOCABULARY, "max_position_embeddings": 12, "projection_size": 16}
    vision = {**shared, "image_size": 16, "patch_size": 8}
    return _save(SiglipModel, SiglipConfig(text_config=text, vision_config=vision), tokenizer(), directory, seed)


def save_vit(directory: Path, seed: int = 0) -> Path:
    """A model that reads no text, with a tokenizer all the same."""
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=16,
        patch_size=8,
    )
    return _save(ViTModel, config, tokenizer(), directory, seed)


def _save(kind, config, words, directory: Path, seed: int) -> Path:
    """Weights are larger than a training's start, so that what a model computes depends on its input."""
    directory.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    words.save_pretrained(directory)
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
