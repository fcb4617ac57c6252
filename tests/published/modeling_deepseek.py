"""A model with the module layout and the parameter names of DeepSeek-MoE 16B's, written for tests."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_deepseek import DeepseekConfig


class DeepseekRMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden_states: Tensor) -> Tensor:
        scale = torch.rsqrt(hidden_states.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (hidden_states.float() * scale).to(hidden_states.dtype)


def rotate(heads: Tensor, positions: Tensor) -> Tensor:
    """Turn the halves of [windows, heads, positions, dimensions] against each other."""
    dimensions = heads.shape[-1]
    frequencies = 1.0 / 10000 ** (torch.arange(0, dimensions, 2).float() / dimensions)
    angles = torch.outer(positions.float(), frequencies).repeat(1, 2)
    first, second = heads.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return heads * angles.cos().to(heads.dtype) + turned * angles.sin().to(heads.dtype)


class DeepseekMLP(nn.Module):
    def __init__(self, config: DeepseekConfig, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class MoEGate(nn.Module):
    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        self.top_k, self.normalised = config.num_experts_per_tok, config.norm_topk_prob
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size).normal_())

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        scores = functional.linear(tokens, self.weight).softmax(dim=-1)
        weights, experts = scores.topk(self.top_k, dim=-1)
        if self.top_k > 1 and self.normalised:
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
        return experts, weights


class DeepseekMoE(nn.Module):
    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        width = config.moe_intermediate_size
        self.experts = nn.ModuleList([DeepseekMLP(config, width) for _ in range(config.n_routed_experts)])
        self.gate = MoEGate(config)
        self.shared_experts = DeepseekMLP(config, width * config.n_shared_experts)

    def forward(self, hidden_states: Tensor) -> Tensor:
        tokens = hidden_states.flatten(0, -2)
        chosen, weights = self.gate(tokens)
        routed = torch.zeros_like(tokens)
        for index, expert in enumerate(self.experts):
            token, place = torch.where(chosen == index)
            routed.index_add_(0, token, expert(tokens[token]) * weights[token, place, None])
        return routed.view_as(hidden_states) + self.shared_experts(hidden_states)


class DeepseekAttention(nn.Module):
    def __init__(self, config: DeepseekConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.dimensions = config.hidden_size // config.num_attention_heads
        self.repeats = config.num_attention_heads // config.num_key_value_heads
        grouped = config.num_key_value_heads * self.dimensions
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, grouped, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, grouped, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, position_ids: Tensor, past_key_value: Any
    ) -> Tensor:
        query, key, value = (
            linear(hidden_states).unflatten(-1, (-1, self.dimensions)).transpose(1, 2)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = rotate(query, position_ids), rotate(key, position_ids)
        if past_key_value is not None:
            key, value = past_key_value.update(key, value, self.layer_idx)
        key, value = (each.repeat_interleave(self.repeats, dim=1) for each in (key, value))
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        return self.o_proj(context.transpose(1, 2).flatten(2))


class DeepseekDecoderLayer(nn.Module):
    def __init__(self, config: DeepseekConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = DeepseekAttention(config, layer_idx)
        has_experts = layer_idx >= config.first_k_dense_replace and layer_idx % config.moe_layer_freq == 0
        self.mlp = DeepseekMoE(config) if has_experts else DeepseekMLP(config, config.intermediate_size)
        self.input_layernorm = DeepseekRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = DeepseekRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        past_key_value: Any = None,
        use_cache: bool = False,
    ) -> tuple[Any, ...]:
        hidden_states = hidden_states + self.self_attn(
            self.input_layernorm(hidden_states), attention_mask, position_ids, past_key_value
        )
        hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return (hidden_states, past_key_value) if use_cache else (hidden_states,)


class DeepseekPreTrainedModel(PreTrainedModel):
    config_class = DeepseekConfig
    base_model_prefix = "model"
    _no_split_modules = ["DeepseekDecoderLayer"]  # noqa: RUF012  as transformers declares it
    _supports_sdpa = True


class DeepseekModel(DeepseekPreTrainedModel):
    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            [DeepseekDecoderLayer(config, index) for index in range(config.num_hidden_layers)]
        )
        self.norm = DeepseekRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        length = input_ids.shape[1]
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        mask = torch.ones(length, past + length, dtype=torch.bool).tril(past)[None, None]
        if attention_mask is not None:
            mask = mask & attention_mask[:, None, None].bool()
        hidden_states = self.embed_tokens(input_ids)
        for layer in self.layers:
            outputs = layer(
                hidden_states,
                attention_mask=mask,
                position_ids=torch.arange(past, past + length),
                past_key_value=past_key_values,
                use_cache=bool(use_cache),
            )
            hidden_states = outputs[0]
        return BaseModelOutputWithPast(
            last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values
        )


class DeepseekForCausalLM(DeepseekPreTrainedModel, GenerationMixin):
    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__(config)
        self.model = DeepseekModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        given = self.model(input_ids, attention_mask, past_key_values, use_cache)
        logits = self.lm_head(given.last_hidden_state)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=given.past_key_values)
