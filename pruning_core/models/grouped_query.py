"""Parameter arithmetic of decoders with grouped-query attention and a gated MLP, which most families share."""

from dataclasses import replace

from pruning_core.models.description import Config, ParameterCount


def count_grouped_query_decoder(
    config: Config,
    *,
    qkv_bias: bool = False,
    output_bias: bool = False,
    mlp_bias: bool = False,
    qk_norm: bool = False,
    layer_norms: int = 2,
) -> ParameterCount:
    """Count a decoder of attention and a gated MLP, with a norm before the head; norms have a weight and no bias.

    Args:
        config: the checkpoint's, with the family's defaults.
        qkv_bias: whether query, key and value have biases.
        output_bias: whether the attention's output has one.
        mlp_bias: whether the MLP's linears have biases.
        qk_norm: whether query and key have a norm over one head's dimensions, shared by all heads.
        layer_norms: norms over the hidden size in a decoder layer.
    """
    hidden = config["hidden_size"]
    heads = config["num_attention_heads"]
    dimension = head_dimension(config)
    query = heads * dimension
    key_value = 2 * (config.get("num_key_value_heads") or heads) * dimension
    embeddings = config["vocab_size"] * hidden
    attention = (
        hidden * (query + key_value) + qkv_bias * (query + key_value) + query * hidden + output_bias * hidden
    )
    return ParameterCount(
        outside_layers=embeddings * (1 if config["tie_word_embeddings"] else 2) + hidden,
        layer_without_channels=attention + qk_norm * 2 * dimension + layer_norms * hidden + mlp_bias * hidden,
        channel=3 * hidden + 2 * mlp_bias,
    )


def count_with_configured_biases(
    config: Config, *, qk_norm: bool = False, layer_norms: int = 2
) -> ParameterCount:
    """The same, where the config's `attention_bias`, and `mlp_bias` if it has one, say which linears have biases."""
    bias = config["attention_bias"]
    return count_grouped_query_decoder(
        config,
        qkv_bias=bias,
        output_bias=bias,
        mlp_bias=config.get("mlp_bias", False),
        qk_norm=qk_norm,
        layer_norms=layer_norms,
    )


def with_norms_of_all_heads(count: ParameterCount, config: Config) -> ParameterCount:
    """The same with norms on query and key that weigh every head's dimensions apart; Qwen3's are shared by all."""
    heads = config["num_attention_heads"]
    normed = (heads + (config.get("num_key_value_heads") or heads)) * head_dimension(config)
    return replace(count, layer_without_channels=count.layer_without_channels + normed)


def without_groups(config: Config) -> Config:
    """The config of a family whose every head has its own key and value, whatever it says that others would read."""
    return {**config, "num_key_value_heads": None, "head_dim": None}


def head_dimension(config: Config) -> int:
    """Dimensions of one attention head."""
    dimension: int = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return dimension
