"""The constants of the memory estimate: those that measurements give, and limits that `tune` and `engine` work by.

Formulas stand in `serving.py` and `training.py`; a new measurement changes only what is here.
"""

from collections.abc import Mapping

# Python with torch and transformers loaded, measured as the peak of a process with a model of 0.2 MB.
RUNTIME_BYTES = 560_000_000
# The same in training, with peft, and the products' kernels for the shapes of a run.
TRAINING_RUNTIME_BYTES = 640_000_000
SAMPLER_RUNTIME_BYTES = 50_000_000  # the engine's code beside it, where answers are sampled
# Answers have any length, so passes come in many widths, and oneDNN keeps programs for each: bytes for each pass of a
# step beside its first, up to so many (SmolLM2-135M, 16 steps of 64 answers: 2.40 GB measured; a tiny model: 0.95).
WIDTH_BYTES, MOST_WIDTHS = 60_000_000, 5
# Of a token of the vocabulary while the tokenizer is loaded, measured with 49,152 and 151,665 of them.
TOKENIZER_BYTES = 950
# What a CUDA context takes of a card beside what torch allocates.
CUDA_CONTEXT_BYTES = 500_000_000

# Bytes of what is computed with; int8 and int4 weights are multiplied in bf16.
COMPUTE_BYTES: Mapping[str, int] = {"f32": 4, "bf16": 2, "int8": 2, "int4": 2}

LOSS_CHUNK_BYTES = 64_000_000  # of logits that training holds at once, with what is made of them
PASS_TOKENS = {"cpu": 1024, "gpu": 8192}  # that fill a training pass where no rows are said
PROMPTS_A_STEP, SAMPLED_AT_ONCE = (
    8,
    64,
)  # of grpo, where no batch is said; sequences that are sampled together
DEQUANTISED_WEIGHTS = 1 << 24  # that an accelerator without a product for them makes dense at a time
STEP_TOKENS = 512  # that the engine computes in one step where nothing else is said

# How many copies a layer keeps of a token for the backward pass. With adapters, whose layers are single steps (see
# tune/fused): what each of two norms takes and, where norms are not made again, gives; queries, and what attention
# gives; keys and values; of the MLP's inner width the gate and the other projection. A trained norm also keeps what
# it normalised, a trained MLP its product.
KEPT_NORMS, KEPT_BY_NORM, KEPT_BY_TRAINED_NORM = 2, 2, 3
KEPT_QUERIES, KEPT_KEYS = 2, 1
KEPT_INNER, KEPT_TRAINED_INNER, KEPT_BY_EXPERTS_INNER = 2, 3, 4
KEPT_BY_EXPERT = 2  # the token as each expert gets it, and gives it back
KEPT_BY_DROPOUT = 2  # of a layer's input: what is left, and which was dropped
KEPT_LABELLED = 3  # of the last hidden state: those with a label, the same padded, their gradient
# Inner widths, and hidden widths, of a token that the backward pass of a layer works on beside what was kept.
WORKING_INNER, WORKING_HIDDEN = 3, 3
# On a CPU, of what passes allocate and free: the share that lies in holes of the allocator's heap, in a step of one
# pass and of more. Measured are 0.25 and 0.5 in the middle; the same run twice differs by a tenth: more is counted.
HOLES, HOLES_OF_MORE_PASSES = 0.35, 0.7

# NF4 (QLoRA, arXiv 2305.14314, §3): 4 bits a weight and 32 bits a block of 64; with double quantisation 8 bits a
# block, and 32 bits for 256 of those.
NF4_BYTES = (4 + 32 / 64) / 8
NF4_DOUBLE_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8

# Bytes a trained weight that an optimizer keeps: AdamW two f32 numbers, SGD its momentum, 8-bit AdamW two numbers of
# 8 bits with an f32 scale for each 256 (arXiv 2110.02861, §2).
ADAMW_BYTES = 8.0
MOMENTUM_BYTES = 4.0
ADAMW8BIT_BYTES = 2 * (1 + 4 / 256)

# Of the time estimate, held against runs by bench/plan_time.py. A weight that comes out of its 4 bits takes as long
# as so many bytes of an element-wise operation; an optimizer passes so often over a trained weight beside its states
# (gradient written, read for its norm, clipped, read; weight read and written), with so many operations a tensor.
UNPACKED_BYTES = 2.0
OPTIMIZER_PASSES, OPTIMIZER_CALLS = 6, 12
LOADING_BYTES_PER_S = 1e9
# What training reaches of the rates that a probe finds, whose numbers lie in the nearest cache and whose best turn
# counts; in a run operands come from further away and threads wait for each other (Zen 4, two models, 14 settings).
TRAINING_SHARES: Mapping[str, float] = {
    "forward": 0.75, "backward": 0.75, "adapters": 0.55, "elements": 0.55, "attention": 0.9
}  # fmt: skip
INT8_FORWARD_GAIN = 1.5  # of frozen products in 8 bits over bf16, with rounding what goes in (Zen 4)
# Products of the engine on a CPU beside plain bf16 or f32 ones (bench/results/decode.md: 1,918, 1,132 and 446
# tokens/s).
PRODUCTS_GAIN: Mapping[str, float] = {"f32": 1.0, "bf16": 1.0, "int8": 1.7, "int4": 0.4}
