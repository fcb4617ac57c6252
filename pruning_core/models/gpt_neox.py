"""GPT-NeoX and Pythia: attention and MLP side by side, layer norms, biases, no gate."""

from pruning_core.models.description import AttentionRoles, Config, Family, MlpRoles, ParameterCount
from pruning_core.models.grouped_query import without_groups
from pruning_core.models.layer_norm import count_layer_norm_decoder


def _count(config: Config) -> ParameterCount:
    return count_layer_norm_decoder(
        without_groups(config), attention_bias=config["attention_bias"], mlp_bias=True
    )


GPT_NEOX = Family(
    name="GPT-NeoX, Pythia",
    model_types=("gpt_neox",),
    layers="gpt_neox.layers",
    mlp=MlpRoles(producers=("mlp.dense_h_to_4h",), activation="mlp.act", consumer="mlp.dense_4h_to_h"),
    attention=AttentionRoles("attention.dense"),
    depth_field="num_hidden_layers",
    width_field="intermediate_size",
    count=_count,
    defaults={
        "attention_bias": True,
        "tie_word_embeddings": False,
        "max_position_embeddings": 2048,
    },
)
