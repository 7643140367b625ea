"""CLIP folders of random weights, as `transformers` saves them: no hub can be reached where these tests run.

The tokenizer is a small byte-level one, trained on the sentences below, with CLIP's own pre-tokenisation and special tokens.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

TEXTS = [
    "a photo of a cat",
    "So proud of her! 🚀🔥 she did it #STS63",
    "Это было невероятно 😍 всем спасибо",
    "すごい!! 海がきれい 🌊",
    "family at the beach 👩‍👩‍👧 👍🏽 best day EVER",
    "¿Qué tal? 👋🏿 mañana más",
    "مرحبا بالعالم ❤️",
    "don't you   dare\n2024",
    "",
    " ".join(f"day {day} of the trip and everybody was kind" for day in range(30)),
]
SMALL_LAYERS = {"intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL: dict[str, Any] = {
    "text_config": {"hidden_size": 64, **SMALL_LAYERS, "initializer_factor": 2.0},
    "vision_config": {"hidden_size": 96, **SMALL_LAYERS, "image_size": 64, "patch_size": 16},
    "projection_dim": 48,
}
START, END = "<|startoftext|>", "<|endoftext|>"


def tokenizer_of(start: int, end: int) -> CLIPTokenizer:
    """CLIP's tokenizer with a small vocabulary, its special tokens at these ids."""
    form = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[]).backend_tokenizer
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer, trained.pre_tokenizer = form.normalizer, form.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=900, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(TEXTS * 2, trainer)
    stored = json.loads(trained.to_str())["model"]
    every_byte = [f"{letter}{end_of_word}" for letter in alphabet for end_of_word in ("", "</w>")]  # CLIP knows them all
    words = dict.fromkeys([*stored["vocab"], *every_byte])
    vocabulary = {**{word: number for number, word in enumerate(words)}, START: start, END: end}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in stored["merges"]])


def save_clip(folder: Path, seed: int = 7, **sizes: int | dict[str, Any]) -> CLIPModel:
    """A whole CLIP folder; ViT-B/32 unless sizes are given. Returns the model."""
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(**sizes)).eval()
    text = model.config.text_config
    side = model.config.vision_config.image_size
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(folder)
    tokenizer_of(text.bos_token_id, text.eos_token_id).save_pretrained(folder)
    return model
