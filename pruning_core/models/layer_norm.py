"""Parameter arithmetic of decoders with layer norms that have biases and an MLP without a gate."""

from pruning_core.models.description import Config, ParameterCount
from pruning_core.models.grouped_query import head_dimension


def count_layer_norm_decoder(config: Config, *, attention_bias: bool, mlp_bias: bool) -> ParameterCount:
    """Count a decoder of two layer norms, attention and an MLP of two linears, with a layer norm before the head."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    query = heads * head_dimension(config)
    key_value = 2 * (config.get("num_key_value_heads") or heads) * head_dimension(config)
    embeddings = config["vocab_size"] * hidden
    attention = (hidden + attention_bias) * (query + key_value) + (query + attention_bias) * hidden
    return ParameterCount(
        outside_layers=embeddings * (1 if config["tie_word_embeddings"] else 2) + 2 * hidden,
        layer_without_channels=attention + 2 * 2 * hidden + mlp_bias * hidden,
        channel=2 * hidden + mlp_bias,
    )
