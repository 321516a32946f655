"""A process that serves with an engine: answers prompts greedily, and writes the tokens as JSON.

    python serve.py vllm '{"model": "/models/llama", "ranks": 1, "load_format": "weightd", "extra": {}}' ANSWER

ANSWER becomes a list of lists of tokens; with vllm_embed, which takes no ranks, one of embeddings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from small_models import PROMPTS, TEXTS, TOKENS


def vllm(model: str, ranks: int, load_format: str, extra: dict[str, Any]) -> list[list[int]]:
    from vllm import LLM, SamplingParams

    engine = LLM(
        model,
        tensor_parallel_size=ranks,
        load_format=load_format,
        model_loader_extra_config=extra,
        skip_tokenizer_init=True,
        enforce_eager=True,
        dtype="bfloat16",
        max_model_len=256,
    )
    wanted = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, detokenize=False)
    answers = engine.generate([{"prompt_token_ids": prompt} for prompt in PROMPTS], wanted, use_tqdm=False)
    return [list(answer.outputs[0].token_ids) for answer in answers]


def vllm_embed(model: str, load_format: str, extra: dict[str, Any]) -> list[list[float]]:
    from vllm import LLM

    engine = LLM(
        model, runner="pooling", load_format=load_format, model_loader_extra_config=extra,
        enforce_eager=True, dtype="float32", max_model_len=256,
    )
    return [list(answer.outputs.embedding) for answer in engine.embed(TEXTS, use_tqdm=False)]


def sglang(model: str, ranks: int, load_format: str, extra: dict[str, Any]) -> list[list[int]]:
    from sglang import Engine

    engine = Engine(
        model_path=model,
        tp_size=ranks,
        load_format=load_format,
        model_loader_extra_config=json.dumps(extra),
        device="cpu",
        attention_backend="torch_native",
        skip_tokenizer_init=True,
        dtype="bfloat16",
        mem_fraction_static=0.2,
        max_total_tokens=2048,
    )
    wanted = {"temperature": 0, "max_new_tokens": TOKENS, "ignore_eos": True}
    answers = engine.generate(input_ids=PROMPTS, sampling_params=wanted)
    engine.shutdown()
    return [list(answer["output_ids"]) for answer in answers]


def main() -> None:
    engine = {"vllm": vllm, "vllm_embed": vllm_embed, "sglang": sglang}[sys.argv[1]]
    answer = engine(**json.loads(sys.argv[2]))
    Path(sys.argv[3]).write_text(json.dumps(answer))


if __name__ == "__main__":  # processes of the engine import this file
    main()
