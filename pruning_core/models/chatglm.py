"""ChatGLM2 and ChatGLM3 as they were published, with modelling files of their own."""

from pruning_core.models.description import AttentionRoles, Config, Family, MlpRoles, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder


def _count(config: Config) -> ParameterCount:
    renamed = {
        "head_dim": config["kv_channels"],
        "num_key_value_heads": config["multi_query_group_num"],
        "vocab_size": config["padded_vocab_size"],
        "tie_word_embeddings": False,
    }
    return count_grouped_query_decoder({**config, **renamed}, qkv_bias=config["add_qkv_bias"])


_DESCRIBED = {
    "rmsnorm": True,
    "post_layer_norm": True,
    "multi_query_attention": True,
    "original_rope": True,
    "add_bias_linear": False,
    "apply_residual_connection_post_layernorm": False,
    "fp32_residual_connection": False,
}


def _refusal(config: Config) -> str | None:
    for name, value in _DESCRIBED.items():
        if bool(config[name]) is not value:
            return f"its config says {name} = {config[name]!r}, and only {value} is described"
    for name in ("pre_seq_len", "quantization_bit"):
        if config[name]:
            return f"its config says {name} = {config[name]!r}; only plain weights are described"
    if not isinstance(config["rope_ratio"], int | float):
        return f"its config says rope_ratio = {config['rope_ratio']!r}, which is no number"
    return None


CHATGLM = Family(
    name="ChatGLM2, ChatGLM3",
    model_types=("chatglm",),
    layers="transformer.encoder.layers",
    mlp=MlpRoles(producers=("mlp.dense_h_to_4h",), activation="silu", consumer="mlp.dense_4h_to_h", fused=2),
    attention=AttentionRoles("self_attention.dense"),
    depth_field="num_layers",
    width_field="ffn_hidden_size",
    count=_count,
    # Of the published configuration class.
    defaults={
        "add_bias_linear": False,
        "add_qkv_bias": False,
        "apply_residual_connection_post_layernorm": False,
        "fp32_residual_connection": False,
        "kv_channels": 128,
        "layernorm_epsilon": 1e-5,
        "multi_query_attention": False,
        "multi_query_group_num": 1,
        "original_rope": True,
        "post_layer_norm": True,
        "pre_seq_len": None,
        "quantization_bit": 0,
        "rmsnorm": True,
        "rope_ratio": 1,
        "seq_length": 2048,
    },
    refusal=_refusal,
    sequence_first=True,
    layers_give_tuples=True,
)
