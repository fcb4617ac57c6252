"""ChatGLM2 and ChatGLM3 as `GlmForCausalLM`: the same arithmetic, with query, key and value in linears of their own.

Both rotate the first half of each head's dimensions, in neighbouring pairs, and both have gate and up in one linear.
"""

import re
from collections.abc import Iterator
from typing import Any

from pruning_core.models.chatglm import CHATGLM
from pruning_core.models.description import Config
from pruning_core.models.glm import GLM
from pruning_core.twins.description import PublishedModel, Twin, common_fields

_ROPE_THETA = 10000.0

_NAMES = {
    "transformer.embedding.word_embeddings.": "model.embed_tokens.",
    "transformer.encoder.final_layernorm.": "model.norm.",
    "transformer.output_layer.": "lm_head.",
}
_LAYER = re.compile(r"transformer\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = {
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_attention_layernorm",
    "self_attention.dense": "self_attn.o_proj",
    "mlp.dense_h_to_4h": "mlp.gate_up_proj",
    "mlp.dense_4h_to_h": "mlp.down_proj",
}


def _config(published: Config) -> dict[str, Any]:
    return {
        "model_type": "glm",
        "architectures": ["GlmForCausalLM"],
        "vocab_size": published["padded_vocab_size"],
        "hidden_size": published["hidden_size"],
        "intermediate_size": published["ffn_hidden_size"],
        "num_hidden_layers": published["num_layers"],
        "num_attention_heads": published["num_attention_heads"],
        "num_key_value_heads": published["multi_query_group_num"],
        "head_dim": published["kv_channels"],
        "attention_bias": published["add_qkv_bias"],
        "rms_norm_eps": published["layernorm_epsilon"],
        "max_position_embeddings": published["seq_length"],
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": _ROPE_THETA * published["rope_ratio"],
            "partial_rotary_factor": 0.5,
        },
        "tie_word_embeddings": False,
        # GlmConfig would otherwise take GLM-4's, which are beyond the vocabulary.
        "eos_token_id": 2,
        "pad_token_id": 0,
        **common_fields(published),
    }


def _weights(name: str, weight: Any, published: Config) -> Iterator[tuple[str, Any]]:
    if name == "transformer.rotary_pos_emb.inv_freq":
        return
    for old, new in _NAMES.items():
        if name.startswith(old):
            yield new + name.removeprefix(old), weight
            return
    found = _LAYER.fullmatch(name)
    if found is None:
        yield name, weight
        return
    layer, part, kind = found.groups()
    if part != "self_attention.query_key_value":
        yield f"model.layers.{layer}.{_PARTS.get(part, part)}.{kind}", weight
        return
    dimension = published["kv_channels"]
    key_value = published["multi_query_group_num"] * dimension
    rows = [published["num_attention_heads"] * dimension, key_value, key_value]
    for projection, own in zip("qkv", weight.split(rows), strict=True):
        yield f"model.layers.{layer}.self_attn.{projection}_proj.{kind}", own


CHATGLM_MODEL = PublishedModel(
    family=CHATGLM,
    # The published config names the class without a head.
    architectures=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
    sizes=(
        "num_layers",
        "hidden_size",
        "ffn_hidden_size",
        "num_attention_heads",
        "multi_query_group_num",
        "kv_channels",
        "padded_vocab_size",
        "seq_length",
    ),
    renamed={"vocab_size": "padded_vocab_size", "max_position_embeddings": "seq_length"},
    twin=Twin(family=GLM, config=_config, weights=_weights),
)
