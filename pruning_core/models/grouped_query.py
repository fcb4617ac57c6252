"""Parameter arithmetic of decoders with grouped-query attention and a gated MLP, which most families share."""

from pruning_core.models.description import Config, ParameterCount


def count_grouped_query_decoder(
    config: Config, *, qkv_bias: bool, output_bias: bool, mlp_bias: bool
) -> ParameterCount:
    """Count a decoder of RMS norm, attention, RMS norm, gated MLP, with an RMS norm before the head."""
    hidden = config["hidden_size"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    query = heads * head_dim
    key_value = 2 * (config.get("num_key_value_heads") or heads) * head_dim
    embeddings = config["vocab_size"] * hidden
    attention = (
        hidden * (query + key_value) + qkv_bias * (query + key_value) + query * hidden + output_bias * hidden
    )
    return ParameterCount(
        outside_layers=embeddings * (1 if config["tie_word_embeddings"] else 2) + hidden,
        layer_without_channels=attention + 2 * hidden + mlp_bias * hidden,
        channel=3 * hidden + 2 * mlp_bias,
    )
