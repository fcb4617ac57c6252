"""What a GGUF file's header says of the model: its sizes, and where it comes from."""

from gguf import GGML_QUANT_VERSION, GGUFType, GGUFWriter, LlamaFileType
from transformers import PreTrainedConfig

from pruning_core.base_card import BaseCard
from pruning_core.models.grouped_query import head_dimension
from pruning_core.paths import looks_local
from pruning_core.recipe import ModelReference

FILE_TYPES = {
    "float32": LlamaFileType.ALL_F32,
    "float16": LlamaFileType.MOSTLY_F16,
    "bfloat16": LlamaFileType.MOSTLY_BF16,
}
"""By the dtype of a checkpoint."""


def add_sizes(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """Say how the model computes."""
    dimension = head_dimension(config.to_dict())
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(dimension)
    writer.add_value_length(dimension)
    writer.add_rope_dimension_count(dimension)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def add_origin(writer: GGUFWriter, title: str, dtype: str, base: ModelReference, card: BaseCard) -> None:
    """Say what the file is called, what it was made of, and under which terms; never when."""
    writer.add_type(GGUFType.MODEL)
    writer.add_name(title)
    writer.add_file_type(FILE_TYPES[dtype])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    if not looks_local(base.id):
        organization, _, name = base.id.rpartition("/")
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, name)
        writer.add_base_model_organization(0, organization)
        writer.add_base_model_version(0, base.revision or "")
        writer.add_base_model_repo_url(0, f"https://huggingface.co/{base.id}")
    # A text that is empty is left out.
    writer.add_license(", ".join(_list(card.license)))
    writer.add_license_name(card.license_name or "")
    writer.add_license_link(card.license_link or "")
    writer.add_languages(_list(card.language))


def _list(said: str | list[str] | None) -> list[str]:
    return [said] if isinstance(said, str) else said or []
