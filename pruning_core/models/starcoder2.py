"""StarCoder2: layer norms, biases, no gate."""

from pruning_core.models.description import Config, Family, MlpRoles, ParameterCount
from pruning_core.models.layer_norm import count_layer_norm_decoder


def _count(config: Config) -> ParameterCount:
    bias = config["use_bias"]
    return count_layer_norm_decoder(config, attention_bias=bias, mlp_bias=bias)


STARCODER2 = Family(
    name="StarCoder2",
    model_types=("starcoder2",),
    layers="model.layers",
    mlp=MlpRoles(producers=("mlp.c_fc",), activation="mlp.act", consumer="mlp.c_proj"),
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    defaults={
        "use_bias": True,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "max_position_embeddings": 4096,
    },
)
