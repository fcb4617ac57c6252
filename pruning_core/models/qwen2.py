"""Qwen2 and Qwen2.5: biases on query, key and value; `layer_types` names each layer's attention."""

from pruning_core.models.description import Config, Family, MlpRoles, ParameterCount
from pruning_core.models.grouped_query import count_grouped_query_decoder


def _count(config: Config) -> ParameterCount:
    return count_grouped_query_decoder(config, qkv_bias=True, output_bias=False, mlp_bias=False)


QWEN2 = Family(
    model_types=("qwen2",),
    layers="model.layers",
    mlp=MlpRoles(
        producers=("mlp.gate_proj", "mlp.up_proj"), activation="mlp.act_fn", consumer="mlp.down_proj"
    ),
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    per_layer_lists=("layer_types",),
    defaults={
        "num_key_value_heads": 32,
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
    },
)
