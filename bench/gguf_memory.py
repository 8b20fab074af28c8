"""What memory a GGUF file takes while it is loaded: a made-up model of the shape of Qwen2.5-1.5B.

    python bench/gguf_memory.py --tokenizer FOLDER_WITH_qwen2.5's_tokenizer.json [--layers 28] [--write]

The file holds random blocks of one form; a process of its own loads it, generates a token and says its peak
memory (VmHWM of /proc/self/status). `whole` is how it was before, and how mixtures of experts still are: the model is
de-quantised as a whole, then packed layer by layer. The tokenizer that is inside the file is made before, as a
first load does.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gguf
import numpy as np
from harness import report
from harness.process import peak_bytes

RESULTS = Path(__file__).parent / "results" / "gguf_memory.md"
HIDDEN, INNER, HEADS, KV_HEADS, VOCAB = 1536, 8960, 12, 2, 151936
CASES = (("Q4_0", "int4"), ("Q4_K", "int4"), ("Q8_0", "int8"), ("Q8_0", "bf16"))
KV_MEMORY = "256MB"


def write(file: Path, form: str, tokenizer: Path, layers: int) -> int:
    """Write the model, every matrix in random blocks of one form; the number of its weights."""
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_block_count(layers)
    writer.add_context_length(32768)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCAB)
    _add_tokenizer(writer, json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8")))
    kind = gguf.GGMLQuantizationType[form]
    rng = np.random.default_rng(0)
    makers: list[Callable[[], np.ndarray]] = []
    weights = 0
    for name, shape in _shapes(layers).items():
        weights += int(np.prod(shape))
        if len(shape) == 1:
            makers.append(lambda shape=shape, name=name: np.full(shape, "norm" in name, np.float32))
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0])
        else:
            columns = shape[1] // gguf.GGML_QUANT_SIZES[kind][0] * gguf.GGML_QUANT_SIZES[kind][1]
            makers.append(lambda rows=shape[0], columns=columns: _blocks(rng, rows, columns, form))
            writer.add_tensor_info(name, (shape[0], columns), np.dtype(np.uint8), shape[0] * columns, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for make in makers:
        writer.write_tensor_data(make())
    writer.close()
    return weights


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict) -> None:
    texts, types = [f"[PAD{i}]" for i in range(VOCAB)], [gguf.TokenType.UNUSED] * VOCAB
    for text, place in tokenizer["model"]["vocab"].items():
        texts[place], types[place] = text, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        texts[added["id"]], types[added["id"]] = added["content"], gguf.TokenType.CONTROL
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(next(a["id"] for a in tokenizer["added_tokens"] if a["content"] == "<|im_end|>"))


def _shapes(layers: int) -> dict[str, tuple[int, ...]]:
    kv = HIDDEN // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (VOCAB, HIDDEN),
        "output_norm.weight": (HIDDEN,),
    }
    for i in range(layers):
        part = {
            "attn_norm.weight": (HIDDEN,), "ffn_norm.weight": (HIDDEN,), "attn_q.weight": (HIDDEN, HIDDEN),
            "attn_k.weight": (kv, HIDDEN), "attn_v.weight": (kv, HIDDEN), "attn_q.bias": (HIDDEN,),
            "attn_k.bias": (kv,), "attn_v.bias": (kv,), "attn_output.weight": (HIDDEN, HIDDEN),
            "ffn_gate.weight": (INNER, HIDDEN), "ffn_up.weight": (INNER, HIDDEN), "ffn_down.weight": (HIDDEN, INNER),
        }  # fmt: skip
        shapes |= {f"blk.{i}.{name}": shape for name, shape in part.items()}
    return shapes


def _blocks(rng: np.random.Generator, rows: int, columns: int, form: str) -> np.ndarray:
    """Random blocks [rows, bytes] whose weights are about 0.02 large."""
    size, scales = {"Q4_0": (18, (2e-3,)), "Q8_0": (34, (2e-4,)), "Q4_K": (144, (1e-4, 1e-3))}[form]
    blocks = rng.integers(0, 256, (rows, columns // size, size), dtype=np.uint8)
    for place, scale in enumerate(scales):
        blocks[..., 2 * place : 2 * place + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    if form == "Q4_K":  # no scale of zero: groups of equal weights, which no model has, are slow to round
        blocks[..., 4:16] |= 1
    return blocks.reshape(rows, columns)


def load(file: str, precision: str | None, whole: bool) -> None:
    """In a process of its own: load, generate a token, print memory in bytes and seconds as JSON.

    Without a precision only the tokenizer is made.
    """
    from transformers import AutoModelForCausalLM, Qwen2ForCausalLM  # noqa: F401

    from weightwright import LLM, SamplingParams
    from weightwright.engine.engine import Engine
    from weightwright.engine.settings import EngineSettings
    from weightwright.ports import ChatRequest
    from weightwright.weights.load import load as load_model
    from weightwright.weights.load import load_tokenizer

    if precision is None:
        load_tokenizer(file)
        return
    before, start = peak_bytes(), time.perf_counter()
    if whole:
        settings = EngineSettings(precision=precision, kv_memory=KV_MEMORY)
        engine = Engine(load_model(file, precision=precision), settings=settings)
        engine.submit(ChatRequest(prompt="Hello", params=SamplingParams(max_tokens=1))).result()
        engine.close()
    else:
        with LLM(file, precision=precision, kv_memory=KV_MEMORY) as llm:
            llm.generate("Hello", SamplingParams(max_tokens=1))
    print(json.dumps({"before": before, "peak": peak_bytes(), "seconds": time.perf_counter() - start}))


def measure(file: Path, precision: str, *, whole: bool) -> dict[str, float]:
    return json.loads(_run(file, "--precision", precision, *["--whole"] * whole).splitlines()[-1])


def _run(file: Path, *options: str) -> str:
    environment = {**os.environ, "WEIGHTWRIGHT_HOME": str(file.parent / "home")}
    command = [sys.executable, __file__, "--load", str(file), *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load(options.load, options.precision, options.whole)
        return
    table = report.Table("file", "precision", "file (GB)", "in bf16 (GB)", "before (GB)", "peak, whole (GB)", "s",
                         "peak (GB)", "s")  # fmt: skip
    for form in dict.fromkeys(form for form, _ in CASES):
        with tempfile.TemporaryDirectory(prefix="gguf-memory-") as folder:
            file = Path(folder) / f"{form}.gguf"
            weights = write(file, form, options.tokenizer, options.layers)
            size = file.stat().st_size
            _run(file)  # makes the tokenizer and keeps it
            for precision in (precision for other, precision in CASES if other == form):
                old, new = (measure(file, precision, whole=whole) for whole in (True, False))
                gigabytes = [value / 1e9 for value in (size, 2 * weights, new["before"], old["peak"])]
                table.row(form, precision, *gigabytes, old["seconds"], new["peak"] / 1e9, new["seconds"])
                print(table, flush=True)
    lines = [
        "# The memory that a GGUF file takes while it is loaded", "", report.machine(), "", report.versions(), "",
        f"A made-up model of the shape of Qwen2.5-1.5B ({options.layers} layers, {weights:,} weights, tied head) in",
        "random blocks. Peak is VmHWM of a process that loads it and generates a token, with everything that Python,",
        f"torch and transformers take (before) and a KV cache of {KV_MEMORY}. `whole`: de-quantised as a whole",
        "model, then packed layer by layer, as it was before.", "", str(table), "",
    ]  # fmt: skip
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
