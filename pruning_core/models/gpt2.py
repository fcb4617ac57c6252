"""GPT-2: weights stored as [inputs, outputs], learned positions, tied embeddings, no gate."""

from pruning_core.models.description import AttentionRoles, Config, Family, MlpRoles, ParameterCount
from pruning_core.models.grouped_query import without_groups
from pruning_core.models.layer_norm import count_layer_norm_decoder

_NAMES = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
}


def _derived(config: Config) -> Config:
    # transformers takes the general names as well.
    sizes = {own: config.get(general, config[own]) for own, general in _NAMES.items()}
    inner = config["n_inner"] or 4 * sizes["n_embd"]
    return {**sizes, **{_NAMES[own]: size for own, size in sizes.items()}, "n_inner": inner}


def _count(config: Config) -> ParameterCount:
    count = count_layer_norm_decoder(without_groups(config), attention_bias=True, mlp_bias=True)
    positions = config["n_positions"] * config["n_embd"]
    return ParameterCount(count.outside_layers + positions, count.layer_without_channels, count.channel)


def _refusal(config: Config) -> str | None:
    return "its layers have cross attention (add_cross_attention)" if config["add_cross_attention"] else None


GPT2 = Family(
    name="GPT-2",
    model_types=("gpt2",),
    layers="transformer.h",
    mlp=MlpRoles(producers=("mlp.c_fc",), activation="mlp.act", consumer="mlp.c_proj"),
    attention=AttentionRoles("attn.c_proj"),
    depth_field="n_layer",
    width_field="n_inner",
    count=_count,
    defaults={
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_inner": None,
        "n_positions": 1024,
        "vocab_size": 50257,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    },
    derived=_derived,
    refusal=_refusal,
)
