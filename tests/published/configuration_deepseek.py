"""A config with the fields of DeepSeek-MoE's, for tests."""

from typing import Any

from transformers import PretrainedConfig


class DeepseekConfig(PretrainedConfig):
    model_type = "deepseek"

    def __init__(
        self,
        vocab_size: int = 512,
        hidden_size: int = 32,
        intermediate_size: int = 192,
        moe_intermediate_size: int = 48,
        num_hidden_layers: int = 4,
        num_attention_heads: int = 4,
        num_key_value_heads: int = 4,
        n_shared_experts: int = 2,
        n_routed_experts: int = 6,
        num_experts_per_tok: int = 3,
        moe_layer_freq: int = 1,
        first_k_dense_replace: int = 1,
        norm_topk_prob: bool = False,
        max_position_embeddings: int = 128,
        rms_norm_eps: float = 1e-6,
        **rest: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.moe_intermediate_size = moe_intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.n_shared_experts = n_shared_experts
        self.n_routed_experts = n_routed_experts
        self.num_experts_per_tok = num_experts_per_tok
        self.moe_layer_freq = moe_layer_freq
        self.first_k_dense_replace = first_k_dense_replace
        self.norm_topk_prob = norm_topk_prob
        self.scoring_func = "softmax"
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        super().__init__(**rest)
