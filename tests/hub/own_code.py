"""Tiny seeded models of families that bring their own code, and what that code computes, in f64 and plain torch.

Written from the published formulas, and by the names that the repositories' own files have; nothing is shared with
the mapping.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import layer_norm, normalize, silu

TOKENIZERS = Path(__file__).resolve().parent / "tokenizers"
HIDDEN, INNER, LAYERS, HEADS, CONTEXT = 64, 96, 2, 4, 512
WIDTH = HIDDEN // HEADS
EPS = 1e-6


@dataclass
class Own:
    """A family: its config, the shapes of its tensors, and its layers as functions of a state [tokens, hidden]."""

    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    logits: Callable[[dict[str, Tensor], Tensor], Tensor]
    tokenizer: str = "baichuan.model"
    pickled: bool = False
    more: dict[str, Any] = field(default_factory=dict)  # further files, as JSON or as text


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + EPS).rsqrt() * weight


def halves(x: Tensor, base: float) -> Tensor:
    """The rotary embedding of x [heads, tokens, width], whose pairs are i and i + width / 2 (GPT-NeoX's)."""
    width = x.shape[-1]
    angle = torch.arange(x.shape[1]).double()[:, None] / base ** (torch.arange(0, width, 2).double() / width)
    left, right = x[..., : width // 2], x[..., width // 2 :]
    return torch.cat((left * angle.cos() - right * angle.sin(), right * angle.cos() + left * angle.sin()), -1)


def neighbours(x: Tensor, base: float) -> Tensor:
    """ChatGLM's: pairs are neighbours, and only the first half of each head turns."""
    width = x.shape[-1] // 2
    angle = torch.arange(x.shape[1]).double()[:, None] / base ** (torch.arange(0, width, 2).double() / width)
    left, right = x[..., :width:2], x[..., 1:width:2]
    turned = torch.stack(
        (left * angle.cos() - right * angle.sin(), right * angle.cos() + left * angle.sin()), -1
    )
    return torch.cat((turned.flatten(-2), x[..., width:]), -1)


def attend(
    q: Tensor, k: Tensor, v: Tensor, turn: Callable[[Tensor, float], Tensor], base: float = 1e4
) -> Tensor:
    """Causal attention of q [tokens, heads · width] over k and v [tokens, kv_heads · width]."""
    q, k, v = (x.view(len(x), -1, WIDTH).transpose(0, 1) for x in (q, k, v))
    q, k = turn(q, base), turn(k, base)
    k, v = (x.repeat_interleave(len(q) // len(x), 0) for x in (k, v))
    scores = q @ k.transpose(1, 2) / WIDTH**0.5
    scores = scores.masked_fill(torch.ones(scores.shape[1:]).triu(1).bool(), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def own(vocab: int = 480) -> dict[str, Own]:
    """All of them by name."""
    square, wide, tall = (HIDDEN, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)
    usual = {"vocab_size": vocab, "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
             "num_attention_heads": HEADS, "rms_norm_eps": EPS, "hidden_act": "silu", "initializer_range": 0.02,
             "max_position_embeddings": CONTEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
             "tie_word_embeddings": False, "torch_dtype": "float32"}  # fmt: skip
    ends = {"model.embed_tokens.weight": (vocab, HIDDEN), "model.norm.weight": (HIDDEN,),
            "lm_head.weight": (vocab, HIDDEN)}  # fmt: skip

    def layered(prefix: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {f"{prefix}.{i}.{name}": shape for i in range(LAYERS) for name, shape in shapes.items()}

    def config(kind: str, architecture: str, **more: Any) -> dict[str, Any]:
        auto = {"AutoConfig": f"configuration_{kind}.C", "AutoModelForCausalLM": f"modeling_{kind}.M"}
        return {"model_type": kind, "architectures": [architecture], "auto_map": auto} | usual | more

    llama_mlp = {"mlp.gate_proj.weight": wide, "mlp.up_proj.weight": wide, "mlp.down_proj.weight": tall}
    norms = {"input_layernorm.weight": (HIDDEN,), "post_attention_layernorm.weight": (HIDDEN,)}
    split = {f"self_attn.{part}_proj.weight": square for part in "qkvo"}

    def llama(w: dict[str, Tensor], ids: Tensor, *, norm: Any = None, embed: float = 1, depth: float = 1,
              out: float = 1, head: Any = None, attention: Any = None, names: Any = None) -> Tensor:  # fmt: skip
        norm = norm or (lambda x, name: rms(x, w[f"{name}.weight"]))
        x = w["model.embed_tokens.weight"][ids] * embed
        first, second = names or ("input_layernorm", "post_attention_layernorm")
        for i in range(LAYERS):
            at = f"model.layers.{i}"
            x = x + depth * (attention or plain_attention)(w, f"{at}.self_attn", norm(x, f"{at}.{first}"))
            y = norm(x, f"{at}.{second}")
            gate, up, down = (w[f"{at}.mlp.{one}_proj.weight"] for one in ("gate", "up", "down"))
            x = x + depth * ((silu(y @ gate.T) * (y @ up.T)) @ down.T)
        return (norm(x, "model.norm") * out) @ (w["lm_head.weight"] if head is None else head).T

    def plain_attention(w: dict[str, Tensor], at: str, y: Tensor) -> Tensor:
        def linear(name: str, x: Tensor) -> Tensor:
            return x @ w[f"{at}.{name}_proj.weight"].T + w.get(f"{at}.{name}_proj.bias", torch.zeros(1))

        return linear("o", attend(linear("q", y), linear("k", y), linear("v", y), halves))

    def packed(w: dict[str, Tensor], at: str, y: Tensor) -> Tensor:
        q, k, v = (y @ w[f"{at}.W_pack.weight"].T).unflatten(-1, (3, HIDDEN)).unbind(-2)
        return attend(q, k, v, halves) @ w[f"{at}.o_proj.weight"].T

    def baichuan2(w: dict[str, Tensor], ids: Tensor) -> Tensor:
        return llama(w, ids, attention=packed, head=normalize(w["lm_head.weight"], dim=-1))

    def qwen(w: dict[str, Tensor], ids: Tensor) -> Tensor:
        x = w["transformer.wte.weight"][ids]
        for i in range(LAYERS):
            at = f"transformer.h.{i}"
            mixed = (
                rms(x, w[f"{at}.ln_1.weight"]) @ w[f"{at}.attn.c_attn.weight"].T + w[f"{at}.attn.c_attn.bias"]
            )
            x = x + attend(*mixed.split(HIDDEN, -1), halves, 5e4) @ w[f"{at}.attn.c_proj.weight"].T
            y = rms(x, w[f"{at}.ln_2.weight"])
            inner = (y @ w[f"{at}.mlp.w1.weight"].T) * silu(y @ w[f"{at}.mlp.w2.weight"].T)
            x = x + inner @ w[f"{at}.mlp.c_proj.weight"].T
        return rms(x, w["transformer.ln_f.weight"]) @ w["lm_head.weight"].T

    def internlm2(w: dict[str, Tensor], ids: Tensor) -> Tensor:
        x = w["model.tok_embeddings.weight"][ids]
        for i in range(LAYERS):
            at = f"model.layers.{i}"
            mixed = rms(x, w[f"{at}.attention_norm.weight"]) @ w[f"{at}.attention.wqkv.weight"].T
            mixed = mixed.view(
                len(ids), 2, 4, WIDTH
            )  # two heads of keys, each with two queries, a key and a value
            q, k, v = mixed[:, :, :2], mixed[:, :, 2], mixed[:, :, 3]
            x = (
                x
                + attend(q.flatten(1), k.flatten(1), v.flatten(1), halves) @ w[f"{at}.attention.wo.weight"].T
            )
            y = rms(x, w[f"{at}.ffn_norm.weight"])
            w1, w2, w3 = (w[f"{at}.feed_forward.w{n}.weight"] for n in (1, 2, 3))
            x = x + (silu(y @ w1.T) * (y @ w3.T)) @ w2.T
        return rms(x, w["model.norm.weight"]) @ w["output.weight"].T

    def chatglm(w: dict[str, Tensor], ids: Tensor, base: float = 1e4) -> Tensor:
        x = w["transformer.embedding.word_embeddings.weight"][ids]
        for i in range(LAYERS):
            at = f"transformer.encoder.layers.{i}"
            qkv = f"{at}.self_attention.query_key_value"
            mixed = rms(x, w[f"{at}.input_layernorm.weight"]) @ w[f"{qkv}.weight"].T + w[f"{qkv}.bias"]
            seen = attend(*mixed.split([HIDDEN, 2 * WIDTH, 2 * WIDTH], -1), neighbours, base)
            x = x + seen @ w[f"{at}.self_attention.dense.weight"].T
            inner = rms(x, w[f"{at}.post_attention_layernorm.weight"]) @ w[f"{at}.mlp.dense_h_to_4h.weight"].T
            left, right = inner.chunk(2, -1)
            x = x + (silu(left) * right) @ w[f"{at}.mlp.dense_4h_to_h.weight"].T
        return (
            rms(x, w["transformer.encoder.final_layernorm.weight"]) @ w["transformer.output_layer.weight"].T
        )

    def orion(w: dict[str, Tensor], ids: Tensor) -> Tensor:
        return llama(
            w, ids, norm=lambda x, name: layer_norm(x, (HIDDEN,), w[f"{name}.weight"], w[f"{name}.bias"], EPS)
        )

    def minicpm(w: dict[str, Tensor], ids: Tensor) -> Tensor:
        head = w["model.embed_tokens.weight"]
        return llama(w, ids, embed=12, depth=1.4 / LAYERS**0.5, out=32 / HIDDEN, head=head)

    biases = {f"self_attn.{part}_proj.bias": (HIDDEN,) for part in "qkvo"}
    baichuan = ends | layered("model.layers", llama_mlp | norms | {
        "self_attn.W_pack.weight": (3 * HIDDEN, HIDDEN), "self_attn.o_proj.weight": square,
    })  # fmt: skip
    code = {"modeling_baichuan.py": "class NormHead(nn.Module): raise SystemExit('it ran')\n"}
    roles = {"generation_config.json": {
        "user_token_id": 10, "assistant_token_id": 11, "bos_token_id": 1, "eos_token_id": 2, "temperature": 0.3,
        "top_k": 5, "top_p": 0.85, "max_new_tokens": 2048, "do_sample": True,
    }}  # fmt: skip
    chatml = {"generation_config.json": {
        "chat_format": "chatml", "eos_token_id": 485, "pad_token_id": 485, "max_window_size": 6144, "top_k": 0,
        "top_p": 0.8, "do_sample": True, "max_new_tokens": 512,
    }}  # fmt: skip
    special = ("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|user|>", "<|assistant|>")
    glm4 = {"tokenizer_config.json": {
        "added_tokens_decoder": {str(485 + i): {"content": one, "special": True} for i, one in enumerate(special)},
        "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "tokenizer_class": "ChatGLM4Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLM4Tokenizer", None]},
        "chat_template": "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
                         "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    }}  # fmt: skip
    families = {
        "baichuan": Own(config("baichuan", "BaiChuanForCausalLM"), baichuan,
                        lambda w, ids: llama(w, ids, attention=packed)),
        "baichuan2": Own(config("baichuan", "BaichuanForCausalLM", model_max_length=CONTEXT), baichuan, baichuan2,
                         pickled=True, more=code | roles),
        "qwen": Own(
            {"model_type": "qwen", "architectures": ["QWenLMHeadModel"], "auto_map": {"AutoConfig": "x.C"},
             "hidden_size": HIDDEN, "intermediate_size": 2 * INNER, "num_hidden_layers": LAYERS,
             "num_attention_heads": HEADS, "kv_channels": WIDTH, "layer_norm_epsilon": EPS, "no_bias": True,
             "max_position_embeddings": 4 * CONTEXT, "seq_length": CONTEXT, "rotary_emb_base": 50000,
             "rotary_pct": 1.0, "use_dynamic_ntk": True, "use_logn_attn": True, "vocab_size": 768,
             "tie_word_embeddings": False},
            {"transformer.wte.weight": (768, HIDDEN), "transformer.ln_f.weight": (HIDDEN,),
             "lm_head.weight": (768, HIDDEN)} | layered("transformer.h", {
                "ln_1.weight": (HIDDEN,), "ln_2.weight": (HIDDEN,), "attn.c_attn.weight": (3 * HIDDEN, HIDDEN),
                "attn.c_attn.bias": (3 * HIDDEN,), "attn.c_proj.weight": square, "mlp.w1.weight": wide,
                "mlp.w2.weight": wide, "mlp.c_proj.weight": tall}),
            qwen, "qwen.tiktoken", more=chatml),
        "internlm": Own(config("internlm", "InternLMForCausalLM", bias=True),
                        ends | layered("model.layers", llama_mlp | norms | split | biases), llama, "internlm.model",
                        ),
        "internlm2": Own(config("internlm2", "InternLM2ForCausalLM", bias=False, num_key_value_heads=2),
                         {"model.tok_embeddings.weight": (vocab, HIDDEN), "model.norm.weight": (HIDDEN,),
                          "output.weight": (vocab, HIDDEN)} | layered("model.layers", {
                             "attention_norm.weight": (HIDDEN,), "ffn_norm.weight": (HIDDEN,),
                             "attention.wqkv.weight": (2 * HIDDEN, HIDDEN), "attention.wo.weight": square,
                             "feed_forward.w1.weight": wide, "feed_forward.w2.weight": tall,
                             "feed_forward.w3.weight": wide}),
                         internlm2, "internlm.model"),
        "yi": Own(config("Yi", "YiForCausalLM"), ends | layered("model.layers", llama_mlp | split | {
            "ln1.weight": (HIDDEN,), "ln2.weight": (HIDDEN,)}), lambda w, ids: llama(w, ids, names=("ln1", "ln2"))),
        "xverse": Own(config("xverse", "XverseForCausalLM"),
                      ends | layered("model.layers", llama_mlp | norms | split), llama),
        "aquila": Own(config("aquila", "AquilaForCausalLM"),
                      ends | layered("model.layers", llama_mlp | norms | split), llama),
        "orion": Own(config("orion", "OrionForCausalLM"), ends | {"model.norm.bias": (HIDDEN,)} | layered(
            "model.layers", llama_mlp | norms | split | {
                "input_layernorm.bias": (HIDDEN,), "post_attention_layernorm.bias": (HIDDEN,)}), orion),
        "minicpm": Own(config("minicpm", "MiniCPMForCausalLM", scale_emb=12, scale_depth=1.4, dim_model_base=32,
                              tie_word_embeddings=True),
                       {name: shape for name, shape in ends.items() if name != "lm_head.weight"}
                       | layered("model.layers", llama_mlp | norms | split), minicpm),
        "chatglm": Own(
            {"model_type": "chatglm", "architectures": ["ChatGLMModel"], "auto_map": {"AutoConfig": "x.C"},
             "num_layers": LAYERS, "padded_vocab_size": 512, "hidden_size": HIDDEN, "ffn_hidden_size": INNER,
             "kv_channels": WIDTH, "num_attention_heads": HEADS, "seq_length": CONTEXT, "layernorm_epsilon": EPS,
             "rmsnorm": True, "add_qkv_bias": True, "add_bias_linear": False, "multi_query_attention": True,
             "multi_query_group_num": 2, "post_layer_norm": True, "original_rope": True, "eos_token_id": 2,
             "pad_token_id": 0, "tie_word_embeddings": False, "torch_dtype": "float32",
             "apply_residual_connection_post_layernorm": False},
            {"transformer.embedding.word_embeddings.weight": (512, HIDDEN),
             "transformer.encoder.final_layernorm.weight": (HIDDEN,),
             "transformer.output_layer.weight": (512, HIDDEN)} | layered("transformer.encoder.layers", norms | {
                "self_attention.query_key_value.weight": (2 * HIDDEN, HIDDEN),
                "self_attention.query_key_value.bias": (2 * HIDDEN,), "self_attention.dense.weight": square,
                "mlp.dense_h_to_4h.weight": (2 * INNER, HIDDEN), "mlp.dense_4h_to_h.weight": tall}),
            chatglm, "internlm.model",
            more={"tokenization_chatglm.py": "raise SystemExit('it ran')  # <|user|>\n"}),
    }  # fmt: skip
    chat = families["chatglm"]
    big = {name: (100_352, *shape[1:]) if shape[0] == 512 else shape for name, shape in chat.shapes.items()}
    families["glm4"] = Own(chat.config | {"padded_vocab_size": 100_352, "rope_ratio": 500},
                           big, lambda w, ids: chatglm(w, ids, 5e6), "qwen.tiktoken", more=glm4)  # fmt: skip
    return families


def weights_of(one: Own) -> dict[str, Tensor]:
    """Seeded weights, large enough that each matters."""
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=draw) * 0.2 + (1 if len(shape) == 1 and "bias" not in name else 0)
        for name, shape in one.shapes.items()
    }


def folder_of(one: Own, folder: Path) -> Path:
    """The model's folder as its repository would have it: its code, too, which ends whoever runs it."""
    folder.mkdir(parents=True)
    weights = weights_of(one)
    if one.pickled:
        names = sorted(weights)
        for n in range(2):
            part = {name: weights[name] for name in names[n::2]}
            torch.save(part, folder / f"pytorch_model-0000{n + 1}-of-00002.bin")
    else:
        buffers = (
            {"transformer.rotary_emb.inv_freq": torch.ones(8)} if "qwen" in one.config["model_type"] else {}
        )
        save_file(weights | buffers, folder / "model.safetensors", {"format": "pt"})
    kind = one.config["model_type"]
    tokens = {
        "tokenizer_class": "OwnTokenizer",
        "auto_map": {"AutoTokenizer": [f"tokenization_{kind}.T", None]},
    }
    if one.tokenizer == "baichuan.model":
        tokens |= {
            "add_bos_token": False,
            "bos_token": {"__type": "AddedToken", "content": "<s>"},
            "eos_token": "</s>",
        }
    runs = "raise SystemExit('it ran')\n"
    files = {"config.json": one.config, "tokenizer_config.json": tokens, f"modeling_{kind}.py": runs,
             f"configuration_{kind}.py": runs, f"tokenization_{kind}.py": runs} | one.more  # fmt: skip
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    target = "qwen.tiktoken" if kind == "qwen" else "tokenizer.model"
    shutil.copyfile(TOKENIZERS / one.tokenizer, folder / target)
    return folder
