"""OPT: biases everywhere, ReLU, learned positions, tied embeddings."""

from pruning_core.models.description import AttentionRoles, Config, Family, MlpRoles, ParameterCount

_POSITIONS_BEFORE_THE_FIRST = 2


def _count(config: Config) -> ParameterCount:
    hidden, embedded, bias = config["hidden_size"], config["word_embed_proj_dim"], config["enable_bias"]
    norm = 2 * hidden if config["layer_norm_elementwise_affine"] else 0
    embeddings = config["vocab_size"] * embedded * (1 if config["tie_word_embeddings"] else 2)
    positions = (config["max_position_embeddings"] + _POSITIONS_BEFORE_THE_FIRST) * hidden
    projections = 2 * hidden * embedded if embedded != hidden else 0
    final_norm = 0 if config["_remove_final_layer_norm"] else norm
    return ParameterCount(
        outside_layers=embeddings + positions + projections + final_norm,
        layer_without_channels=4 * (hidden**2 + bias * hidden) + bias * hidden + 2 * norm,
        channel=2 * hidden + bias,
    )


def _refusal(config: Config) -> str | None:
    if config["do_layer_norm_before"]:
        return None
    return "its norms come after attention and MLP (do_layer_norm_before is false, as in opt-350m)"


OPT = Family(
    name="OPT, except opt-350m",
    model_types=("opt",),
    layers="model.decoder.layers",
    mlp=MlpRoles(producers=("fc1",), activation="activation_fn", consumer="fc2"),
    attention=AttentionRoles("self_attn.out_proj"),
    depth_field="num_hidden_layers",
    width_field="ffn_dim",
    count=_count,
    defaults={
        "word_embed_proj_dim": 768,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
        "tie_word_embeddings": True,
        "max_position_embeddings": 2048,
    },
    refusal=_refusal,
)
