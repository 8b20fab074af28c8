"""Whether a way of running a model computes what the model does, tried on the model itself before it is packed.

A text is read at once without a cache, and in three goes over caches. So no family, and no code of a model's own,
answers wrongly in silence.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weightwright.executor import attention, own
from weightwright.executor.stacked import Stack
from weightwright.kernels.cache import BLOCK_TOKENS, LayerShape, PagedCache
from weightwright.kernels.step import Segment, Step

if TYPE_CHECKING:
    from torch import Tensor

PARTS = (13, 10, 1)
_BESIDE = 7  # tokens of another text that stand before those of the text in each pass over pages
SINGLES = (13, *[1] * 11)  # after the first part token by token
_LENGTHS = (13, 22, 5)  # of sequences that are computed together
_ROWS = (4, 7, 10, 12, 13, 16, 19, 22, 23)
# of the spread of the logits over the vocabulary, in the median of the rows
_TOLERANCE = {"torch.float32": 1e-3}
_TOLERANCE_BF16 = 0.15


def agrees(model: Any, shapes: list[LayerShape] | None, parts: Sequence[int] = PARTS) -> bool:
    """Whether logits over a cache are those without one: the paged one of layers of `shapes`, or the model's own.

    The text is read in `parts`, of so many tokens. Raises whatever the model raises.
    """
    import torch

    text = model.config.get_text_config(decoder=True)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(text.vocab_size // 4, text.vocab_size // 2, (1, sum(PARTS)), generator=draw)
    ids = ids.to(model.device)
    own.use_own_attention(model)
    with torch.inference_mode():
        expected = model(input_ids=ids, use_cache=False).logits[0, list(_ROWS)].float()
        found = _by_own_cache(model, ids, parts) if shapes is None else _by_pages(model, ids, shapes, parts)
    return _same(model, found[list(_ROWS)].float(), expected)


def agrees_together(model: Any) -> bool:
    """Whether logits of sequences of several lengths are those without a cache where single tokens share a pass.

    After two tokens one sequence leaves, the others go on in another order. Raises whatever the model raises.
    """
    import torch

    draw = torch.Generator().manual_seed(1)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    texts = torch.randint(
        vocabulary // 4, vocabulary // 2, (len(_LENGTHS), max(_LENGTHS) + 4), generator=draw
    )
    texts = texts.to(model.device)
    own.use_own_attention(model)
    lengths, states = list(_LENGTHS), list[Any]()
    for text, length in zip(texts, lengths, strict=True):
        states.append(own.new_cache(model))
        for start, end in ((0, length - 1), (length - 1, length)):
            own.run(model, text[None, start:end], states[-1], start, [0])
    expected, found = [], []
    for order in ((0, 1, 2), (2, 0)):
        stack = Stack([states[row] for row in order], [lengths[row] for row in order])
        for row, state in zip(order, stack.rows(), strict=True):
            states[row] = state
        for _ in range(2):
            ids = torch.stack([texts[row, lengths[row]] for row in order])
            found.append(own.run_together(model, ids, stack))
            for row in order:
                lengths[row] += 1
                with torch.inference_mode():
                    whole = model(input_ids=texts[row : row + 1, : lengths[row]], use_cache=False)
                expected.append(whole.logits[0, -1])
    return _same(model, torch.cat(found).float(), torch.stack(expected).float())


def _same(model: Any, found: "Tensor", expected: "Tensor") -> bool:
    """Whether logits [rows, vocab] are the expected ones, but for rounding."""
    spread = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
    off = ((found - expected).norm(dim=-1) / spread).median()
    return bool(off <= _TOLERANCE.get(str(model.dtype), _TOLERANCE_BF16))


def _by_own_cache(model: Any, ids: "Tensor", parts: Sequence[int]) -> "Tensor":
    import torch

    cache, start, found = own.new_cache(model), 0, []
    for count in parts:
        found.append(own.run(model, ids[:, start : start + count], cache, start, [*range(count)])[0])
        start += count
    return torch.cat(found)


def _by_pages(model: Any, ids: "Tensor", shapes: list[LayerShape], parts: Sequence[int]) -> "Tensor":
    import torch

    attention.use(model)
    blocks = -(-sum(PARTS) // BLOCK_TOKENS)
    table, beside = torch.arange(blocks, device=ids.device), torch.tensor([blocks], device=ids.device)
    cache = PagedCache(shapes, blocks + 1, model.dtype, ids.device)
    none, start, found = torch.zeros(0, 1, dtype=torch.int32), 0, []
    others = torch.arange(_BESIDE, device=ids.device)
    for count in parts:
        places = torch.arange(start, start := start + count, device=ids.device)
        segments = [Segment(0, _BESIDE, _BESIDE, beside), Segment(_BESIDE, count, start, table)]
        slots = torch.cat([blocks * BLOCK_TOKENS + others, places])
        positions = torch.cat([others, places])[None]
        step = Step(cache, slots, 0, none, none[:, 0].long(), segments)
        with attention.using(step):
            tokens = torch.cat([ids[:, :_BESIDE], ids[:, places]], dim=1)
            out = model(input_ids=tokens, position_ids=positions, use_cache=False)
        found.append(out.logits[0, _BESIDE:])
    return torch.cat(found)
