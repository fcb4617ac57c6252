"""Checkpoints of real families, small enough to be pruned in a second, with a real tokenizer."""

from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.tensor_parallel.skeletons import telling

VOCABULARY = 512
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 16, "head_dim": 8},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "qwen2_moe": {
        **EXPERTS,
        "moe_intermediate_size": SIZES["intermediate_size"],
        "intermediate_size": 48,
        "shared_expert_intermediate_size": 64,
        "mlp_only_layers": [1],
    },
    "qwen3_moe": {
        **EXPERTS,
        "head_dim": 8,
        "moe_intermediate_size": SIZES["intermediate_size"],
        "intermediate_size": 48,
        "norm_topk_prob": True,
    },
    "smollm3": {},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 16},
    "gemma3_text": {"head_dim": 8, "sliding_window": 16},
    "gpt2": {"n_inner": SIZES["intermediate_size"]},
    "gpt_neox": {},
    "falcon": {"ffn_hidden_size": SIZES["intermediate_size"], "bias": True},
    "starcoder2": {},
    "phi3": {},
    "glm": {"head_dim": 8},
    "glm4": {"head_dim": 8},
    "granite": {"residual_multiplier": 0.5},
    "olmo2": {},
    "olmoe": EXPERTS,
    "cohere": {"use_qk_norm": True},
    "opt": {"ffn_dim": SIZES["intermediate_size"], "word_embed_proj_dim": SIZES["hidden_size"]},
}
"""One tiny model of every described family, by its `model_type`."""


def make_tiny(model_type: str, folder: Path, **changes: Any) -> Path:
    variant = VARIANTS[model_type] if model_type in VARIANTS else telling(model_type)
    config = AutoConfig.for_model(model_type, **SIZES | variant | changes)
    kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return _save(kind, config, folder)


def make_tiny_llama(folder: Path, **changes: Any) -> Path:
    return _save(LlamaForCausalLM, LlamaConfig(**SIZES | changes), folder)


def make_tiny_qwen2(folder: Path, **changes: Any) -> Path:
    return _save(Qwen2ForCausalLM, Qwen2Config(**SIZES | changes), folder)


def _save(kind: type[PreTrainedModel], config: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    return save_checkpoint(kind(config), folder)


def save_checkpoint(model: PreTrainedModel, folder: Path) -> Path:
    """Save a random model whose every layer and bias matters, with a tokenizer."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # As from_config makes them, layers hardly change what passes through and biases are zero: no test
            # would notice a layer or a bias lost.
            if parameter.ndim > 1:
                parameter.mul_(8)
            elif name.endswith("bias"):
                parameter.normal_()
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=_tokenizer(), pad_token="<pad>").save_pretrained(folder)
    return folder


@cache
def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<pad>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([topics[name] for name in sorted(topics)[:10]], trainer)
    return tokenizer
