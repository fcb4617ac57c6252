"""The models of the published tables: what their configs say, and what must come out of that alone."""

from typing import Any, NamedTuple

from tests.published_configs import CHATGLM3, DEEPSEEK_MOE


def config(model_type: str, sizes: tuple[int, int, int, int, int, int], **more: Any) -> dict[str, Any]:
    names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
    )
    return (
        {"model_type": model_type, "max_position_embeddings": 4096}
        | dict(zip(names, sizes, strict=True))
        | more
    )


CONFIGS: dict[str, dict[str, Any]] = {
    "Llama-2-7b": config("llama", (4096, 11008, 32, 32, 32, 32000)),
    "Llama-3-8B": config("llama", (4096, 14336, 32, 32, 8, 128256), torch_dtype="bfloat16"),
    "Llama-2-70b": config("llama", (8192, 28672, 80, 64, 8, 32000)),
    "Llama-3.1-405B": config("llama", (16384, 53248, 126, 128, 8, 128256)),
    "Qwen2.5-14B": config("qwen2", (5120, 13824, 48, 40, 8, 152064)),
    "Phi-3.5-mini": config("phi3", (3072, 8192, 32, 32, 32, 32064)),
    "Command-R": config("cohere", (8192, 24576, 40, 64, 8, 256000)),
    "OPT-6.7b": {
        "model_type": "opt",
        "ffn_dim": 16384,
        "hidden_size": 4096,
        "max_position_embeddings": 2048,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "vocab_size": 50272,
        "word_embed_proj_dim": 4096,
    },
    "Mixtral-8x7B": config("mixtral", (4096, 14336, 32, 32, 8, 32000)),
    "chatglm3-6b": CHATGLM3,
    "deepseek-moe-16b": DEEPSEEK_MOE,
}


class Row(NamedTuple):
    """A cut of one of the models; `before` and `after` are channels (osscar) or layers (depth)."""

    model: str
    method: str
    ratio: float
    before: int
    after: int
    parameters: int
    percent: float


ROWS = [
    Row("Llama-2-7b", "osscar", 0.1, 11008, 9856, 6_738_415_616, 6.7224),
    Row("Llama-3-8B", "osscar", 0.1, 14336, 12928, 8_030_261_248, 6.8945),
    Row("Qwen2.5-14B", "osscar", 0.1, 13824, 12416, 14_770_033_664, 7.0284),
    Row("Phi-3.5-mini", "osscar", 0.1, 8192, 7424, 3_821_079_552, 5.9274),
    Row("Command-R", "osscar", 0.1, 24576, 22144, 32_296_476_672, 7.4025),
    Row("Mixtral-8x7B", "osscar", 0.1, 14336, 12928, 46_702_792_704, 9.4838),
    Row("chatglm3-6b", "osscar", 0.1, 13696, 12288, 6_243_584_000, 7.7590),
    Row("OPT-6.7b", "osscar", 0.1165, 16384, 14464, 6_658_473_984, 7.5600),
    Row("Llama-2-7b", "depth", 3 / 32, 32, 29, 6_738_415_616, 9.0103),
    Row("Llama-2-70b", "depth", 9 / 80, 80, 71, 68_976_648_192, 11.1645),
    Row("Qwen2.5-14B", "depth", 5 / 48, 48, 43, 14_770_033_664, 9.3185),
    Row("OPT-6.7b", "depth", 4 / 32, 32, 28, 6_658_473_984, 12.0977),
    Row("Mixtral-8x7B", "depth", 3 / 32, 32, 29, 46_702_792_704, 9.3224),
    Row("deepseek-moe-16b", "depth", 3 / 28, 28, 25, 16_375_728_128, 10.7695),
    Row("Llama-3.1-405B", "depth", 13 / 126, 126, 113, 405_853_388_800, 10.2106),
]
