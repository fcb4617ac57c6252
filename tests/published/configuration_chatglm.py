"""A config with the fields of ChatGLM3's, for tests."""

from typing import Any

from transformers import PretrainedConfig


class ChatGLMConfig(PretrainedConfig):
    model_type = "chatglm"
    # What generation asks a config for.
    attribute_map = {"num_hidden_layers": "num_layers"}  # noqa: RUF012  as transformers declares it

    def __init__(
        self,
        num_layers: int = 4,
        padded_vocab_size: int = 512,
        hidden_size: int = 32,
        ffn_hidden_size: int = 256,
        kv_channels: int = 8,
        num_attention_heads: int = 4,
        seq_length: int = 128,
        layernorm_epsilon: float = 1e-5,
        multi_query_group_num: int = 2,
        **rest: Any,
    ) -> None:
        self.num_layers = num_layers
        self.vocab_size = padded_vocab_size
        self.padded_vocab_size = padded_vocab_size
        self.hidden_size = hidden_size
        self.ffn_hidden_size = ffn_hidden_size
        self.kv_channels = kv_channels
        self.num_attention_heads = num_attention_heads
        self.seq_length = seq_length
        self.layernorm_epsilon = layernorm_epsilon
        self.multi_query_attention = True
        self.multi_query_group_num = multi_query_group_num
        self.add_qkv_bias = True
        self.add_bias_linear = False
        self.original_rope = True
        rest.pop("vocab_size", None)
        super().__init__(**rest)
