"""A model with the module layout, the parameter names and the calls of ChatGLM3's, written for tests.

As there: hidden states are [positions, windows, hidden size], layers count from 1 and give a pair, and the MLP's
activation is a function. Unlike there, the cache is the one that generation in transformers 5 uses.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_chatglm import ChatGLMConfig


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden_states: Tensor) -> Tensor:
        scale = torch.rsqrt(hidden_states.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight * (hidden_states.float() * scale)).to(hidden_states.dtype)


class RotaryEmbedding(nn.Module):
    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.register_buffer("inv_freq", self._frequencies())

    def _frequencies(self) -> Tensor:
        return 1.0 / 10000 ** (torch.arange(0, self.dimensions, 2).float() / self.dimensions)

    def forward(self, positions: Tensor) -> Tensor:
        """[positions, 1, dimensions / 2, 2]: cosines and sines."""
        angles = torch.outer(positions.float(), self._frequencies().to(positions.device))
        return torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None].to(self.inv_freq.dtype)


def rotate(heads: Tensor, rotary: Tensor) -> Tensor:
    """Turn neighbouring pairs of the first dimensions of [positions, windows, heads, dimensions]."""
    turned = 2 * rotary.shape[-2]
    even, odd = heads[..., :turned:2], heads[..., 1:turned:2]
    cosine, sine = rotary[:, :, None, :, 0], rotary[:, :, None, :, 1]
    pairs = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).flatten(-2)
    return torch.cat([pairs, heads[..., turned:]], dim=-1)


class SelfAttention(nn.Module):
    def __init__(self, config: ChatGLMConfig, layer_number: int) -> None:
        super().__init__()
        self.layer_number = layer_number
        self.heads, self.groups = config.num_attention_heads, config.multi_query_group_num
        self.dimensions = config.kv_channels
        rows = (self.heads + 2 * self.groups) * self.dimensions
        self.query_key_value = nn.Linear(config.hidden_size, rows, bias=True)
        self.dense = nn.Linear(self.heads * self.dimensions, config.hidden_size, bias=False)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None, rotary_pos_emb: Tensor, kv_cache: Any
    ) -> Tensor:
        fused = self.query_key_value(hidden_states)
        fused = fused.unflatten(-1, (self.heads + 2 * self.groups, self.dimensions))
        query, key, value = fused.split([self.heads, self.groups, self.groups], dim=2)
        query, key = rotate(query, rotary_pos_emb), rotate(key, rotary_pos_emb)
        query, key, value = (each.permute(1, 2, 0, 3) for each in (query, key, value))
        if kv_cache is not None:
            key, value = kv_cache.update(key, value, self.layer_number - 1)
        context = functional.scaled_dot_product_attention(
            query,
            key.repeat_interleave(self.heads // self.groups, dim=1),
            value.repeat_interleave(self.heads // self.groups, dim=1),
            attn_mask=attention_mask,
            is_causal=attention_mask is None and query.shape[2] == key.shape[2],
        )
        return self.dense(context.permute(2, 0, 1, 3).flatten(2))


class MLP(nn.Module):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size, bias=False)

        def swiglu(states: Tensor) -> Tensor:
            gate, up = states.chunk(2, dim=-1)
            return functional.silu(gate) * up

        self.activation_func = swiglu

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.dense_4h_to_h(self.activation_func(self.dense_h_to_4h(hidden_states)))


class GLMBlock(nn.Module):
    def __init__(self, config: ChatGLMConfig, layer_number: int) -> None:
        super().__init__()
        self.layer_number = layer_number
        self.input_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.self_attention = SelfAttention(config, layer_number)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = MLP(config)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        rotary_pos_emb: Tensor,
        kv_cache: Any = None,
        use_cache: bool = True,
    ) -> tuple[Tensor, Any]:
        attended = self.self_attention(
            self.input_layernorm(hidden_states), attention_mask, rotary_pos_emb, kv_cache
        )
        hidden_states = hidden_states + attended
        output = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return output, kv_cache if use_cache else None


class GLMTransformer(nn.Module):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.num_layers = config.num_layers
        self.layers = nn.ModuleList([GLMBlock(config, index + 1) for index in range(self.num_layers)])
        self.final_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        rotary_pos_emb: Tensor,
        kv_cache: Any,
        use_cache: bool,
    ) -> Tensor:
        for index in range(self.num_layers):
            hidden_states, _ = self.layers[index](
                hidden_states, attention_mask, rotary_pos_emb, kv_cache=kv_cache, use_cache=use_cache
            )
        return self.final_layernorm(hidden_states)


class Embedding(nn.Module):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.padded_vocab_size, config.hidden_size)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.word_embeddings(input_ids).transpose(0, 1).contiguous()


class ChatGLMPreTrainedModel(PreTrainedModel):
    config_class = ChatGLMConfig
    base_model_prefix = "transformer"
    _no_split_modules = ["GLMBlock"]  # noqa: RUF012  as transformers declares it
    _supports_sdpa = True


class ChatGLMModel(ChatGLMPreTrainedModel):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.embedding = Embedding(config)
        self.num_layers = config.num_layers
        self.rotary_pos_emb = RotaryEmbedding(config.kv_channels // 2)
        self.encoder = GLMTransformer(config)
        self.output_layer = nn.Linear(config.hidden_size, config.padded_vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding.word_embeddings

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
        mask = None
        if attention_mask is not None and not attention_mask.all():
            causal = torch.ones(length, past + length, dtype=torch.bool).tril(past)
            mask = (causal & attention_mask[:, None].bool())[:, None]
        hidden_states = self.encoder(
            self.embedding(input_ids),
            mask,
            rotary_pos_emb=self.rotary_pos_emb(torch.arange(past, past + length)),
            kv_cache=past_key_values,
            use_cache=bool(use_cache),
        )
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values)


class ChatGLMForConditionalGeneration(ChatGLMPreTrainedModel, GenerationMixin):
    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.transformer = ChatGLMModel(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.transformer.output_layer

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        given = self.transformer(input_ids, attention_mask, past_key_values, use_cache)
        logits = self.transformer.output_layer(given.last_hidden_state).transpose(0, 1).contiguous()
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=given.past_key_values)
