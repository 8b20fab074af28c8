"""A model that transformers does not know: queries, keys and values from one matrix, as Baichuan has them, and a
learned gate on each head, as nobody has it. It attends through transformers' interface.
"""

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_plain import PlainConfig


def causal(module, query, key, value, mask, scaling, **_):
    scores = query @ key.transpose(2, 3) * scaling
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (scores.masked_fill(later, -1e9).softmax(-1) @ value).transpose(1, 2), None


def turned(x, turn):
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)


class Attention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer_idx, True
        self.heads, self.width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = 1
        self.W_pack = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.gate = nn.Parameter(torch.linspace(0.5, 1.5, self.heads))

    def forward(self, x, positions):
        q, k, v = self.W_pack(x).view(*x.shape[:2], 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        angle = positions[:, None, :, None] / 100 ** torch.arange(
            0, 1, 2 / self.width, device=positions.device
        )
        turn = torch.polar(torch.ones_like(angle), angle)
        q, k = (turned(t, turn) for t in (q, k))
        name = self.config._attn_implementation
        attend = causal if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]
        mixed, _ = attend(self, q.to(v.dtype), k.to(v.dtype), v, None, scaling=self.width**-0.5, dropout=0.0)
        return self.o_proj((mixed * self.gate[:, None]).flatten(-2))


class Layer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(config.hidden_size), Attention(config, layer_idx)
        self.up = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.down = nn.Linear(2 * config.hidden_size, config.hidden_size)

    def forward(self, x, positions):
        x = x + self.attention(self.norm(x), positions)
        return x + self.down(torch.tanh(self.up(x)))


class PlainModel(PreTrainedModel):
    config_class = PlainConfig
    base_model_prefix = "model"
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.post_init()

    def forward(self, input_ids, position_ids=None, attention_mask=None, use_cache=None, **_):
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
            x = layer(x, position_ids)
        return BaseModelOutput(last_hidden_state=x)


class PlainForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = PlainConfig
    base_model_prefix = "model"
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config):
        super().__init__(config)
        self.model = PlainModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def forward(
        self, input_ids, position_ids=None, attention_mask=None, use_cache=None, logits_to_keep=0, **_
    ):
        x = self.model(input_ids, position_ids).last_hidden_state
        rows = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutput(logits=self.lm_head(x[:, rows]))
