"""LoRA adapters over one set of base weights: different ones in one batch, loaded and dropped between steps.

An adapter adds `scale * B @ (A @ x)` to a linear layer's output (arXiv 2106.09685, §4.1). Nothing is merged,
so the base may be of any precision. DoRA's magnitudes scale the product as well (`dora`).

    bank = AdapterBank(torch.bfloat16)
    site = bank.site([("model.layers.0.self_attn.q_proj", 896), (..."k_proj", 128), (..."v_proj", 128)], 896, qkv)
    bank.load(read_adapter("mine", folder))
    rows = bank.batch([bank.slot("mine"), -1])  # once per step, for all sites
    if rows.active:
        site.add_(y, x, rows)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightwright.errors import ModelError, RequestError
from weightwright.executor.lengths import read_lengths, write_lengths
from weightwright.executor.lora_site import BatchRows, LoraSite, Part, SiteWeights
from weightwright.weights.adapter import Adapter, read_adapter, refuse_experts

__all__ = ["Adapter", "AdapterBank", "BatchRows", "LoraLinear", "LoraSite", "read_adapter", "wrap"]

_PLACED_BYTES = 1 << 20  # of stacked matrices written between two steps: well below a step's time
_KEPT_BATCHES = 4  # decoding asks for the same rows step after step


@dataclass(frozen=True)
class Prepared:
    """An adapter laid out for the sites of a bank."""

    name: str
    digest: bytes
    sites: list[SiteWeights | None]  # of each site of the bank


class AdapterBank:
    """The adapters of one model, on `device` in `dtype` (f32, or bf16 as the base computes).

    Declare every linear layer once with `site` (or let `wrap` do it), then load adapters. Loading and
    dropping are for the thread that runs the model, between two steps.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self.dtype, self.device = dtype, device
        self.rows: BatchRows | None = None  # what `LoraLinear` applies; set before each forward pass
        self.wanted_rows: BatchRows | None = (
            None  # the same for the rows whose logits or hidden states are wanted
        )
        self.head_rows: BatchRows | None = None  # and for those whose logits are
        self._sites: list[LoraSite] = []
        self._places: dict[str, tuple[LoraSite, Part]] = {}
        self._slots: dict[str, int] = {}
        self._digests: dict[str, bytes] = {}
        self._batches: dict[tuple[int, ...], BatchRows] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The loaded adapters, in the order of loading."""
        return tuple(self._slots)

    @property
    def nbytes(self) -> int:
        """Bytes of all stacked matrices."""
        return sum(site.nbytes for site in self._sites)

    def site(
        self, parts: Sequence[tuple[str, int]], in_features: int, layer: Callable[[Tensor], Tensor]
    ) -> LoraSite:
        """Declare where adapters may act: (module path, outputs) of each module in order of concatenation.

        `layer` is the base layer of them all, [n, in] -> [n, outputs].
        """
        made = LoraSite(parts, in_features, self.dtype, self.device, layer)
        self._sites.append(made)
        self._places |= {part.path: (made, part) for part in made.parts}
        return made

    def load(self, adapter: Adapter) -> int:
        """Take an adapter in; its slot. Raises ModelError, with nothing changed, when it does not fit."""
        for _ in self.placing(self.prepare(adapter)):
            pass
        return self.slot(adapter.name)

    def prepare(self, adapter: Adapter, base: str = "") -> "Prepared":
        """Check an adapter and lay out its matrices; changes nothing, so another thread may run the model meanwhile.

        The row lengths of DoRA adapters are kept for the next time where `base` names the base weights and how
        they are held. Raises ModelError when the adapter does not fit.
        """
        self._check_fit(adapter)
        lengths, complete = read_lengths(adapter, base) if base else {}, True
        made: list[SiteWeights | None] = []
        for site in self._sites:
            weights = [adapter.modules.get(part.path) for part in site.parts]
            if not any(weights):
                made.append(None)
                continue
            if any(one is not None and one.magnitude is not None and part.path not in lengths
                   for part, one in zip(site.parts, weights, strict=True)):  # fmt: skip
                lengths |= site.lengths(weights)
                complete = False
            made.append(site.prepare(weights, lengths))
        if base and not complete:
            write_lengths(adapter, base, lengths)
        return Prepared(adapter.name, adapter.digest, made)

    def placing(self, prepared: "Prepared") -> Iterator[None]:
        """Take a prepared adapter in, a few matrices at a time: go on between two steps of the model.

        It is there once the iterator has ended. Only one adapter is taken in or dropped at a time.
        """
        slot = next(slot for slot in range(len(self._slots) + 1) if slot not in self._slots.values())
        slots, placed = max(slot + 1, self._capacity), 0
        try:
            for site, made in zip(self._sites, prepared.sites, strict=True):
                if placed > _PLACED_BYTES:
                    placed = 0
                    yield
                if made is not None:
                    site.put(slot, slots, made)
                else:
                    site.fit(slots)
                placed += site.nbytes
        except BaseException:
            for site in self._sites:
                site.clear(slot)
            raise
        self._slots[prepared.name], self._digests[prepared.name] = slot, prepared.digest
        self._batches.clear()

    @property
    def _capacity(self) -> int:
        return max(self._slots.values(), default=-1) + 1

    def _check_fit(self, adapter: Adapter) -> None:
        if adapter.name in self._slots:
            raise ModelError(f"adapter {adapter.name!r} is already loaded; drop it first")
        unknown = [path for path in adapter.modules if path not in self._places]
        if any(".experts" in path for path in unknown):
            refuse_experts(adapter.name, next(path for path in unknown if ".experts" in path))
        if unknown:
            raise adapter.misfit(f"it has no linear layer {_first(unknown)}")
        wrong = []
        for path, weights in adapter.modules.items():
            site, part = self._places[path]
            have, want = (weights.b.shape[0], weights.a.shape[1]), (part.out, site.inputs)
            if have != want:
                wrong.append(f"{path} [{have[0]}, {have[1]}] for [{want[0]}, {want[1]}]")
        for path, shape in adapter.saved_base.items():
            outputs = self._places[path][1].out if path in self._places else shape[0]
            if shape[0] != outputs:
                wrong.append(f"{path} (of another vocabulary) {list(shape)} for {outputs} outputs")
        if wrong:
            raise adapter.misfit(f"[out, in] differ: {_first(wrong)}")

    def drop(self, name: str) -> None:
        """Forget an adapter and free its memory. Raises RequestError when it is not loaded."""
        for _ in self.dropping(name):
            pass

    def dropping(self, name: str) -> Iterator[None]:
        """Forget an adapter at once and free its memory a few matrices at a time, as `placing` does."""
        slot = self.slot(name)
        del self._slots[name], self._digests[name]
        self._batches.clear()
        cleared = 0
        for site in self._sites:
            if cleared > _PLACED_BYTES:
                cleared = 0
                yield
            cleared += site.nbytes
            site.clear(slot)
            site.fit(self._capacity)

    def slot(self, name: str | None) -> int:
        """The slot of an adapter, -1 for None (the base). Raises RequestError when there is none such."""
        if name is None:
            return -1
        if name not in self._slots:
            known = ", ".join(self._slots) or "none loaded"
            raise RequestError(f"there is no adapter {name!r}; adapters: {known}")
        return self._slots[name]

    def digest(self, name: str | None) -> bytes:
        """What salts the sharing of prefixes: the hash of an adapter's weights, empty for the base."""
        self.slot(name)
        return b"" if name is None else self._digests[name]

    def batch(self, slots: Iterable[int]) -> BatchRows:
        """Prepare the rows of one step: the slot of each row in order, -1 for the base model.

        Rows of one adapter that lie together cost less: its matrices are read once, and no row is copied.
        """
        key = tuple(slots)
        if key not in self._batches:
            if len(self._batches) == _KEPT_BATCHES:
                del self._batches[next(iter(self._batches))]
            self._batches[key] = BatchRows.of(key, self.device)
        return self._batches[key]


class LoraLinear(torch.nn.Module):  # type: ignore[misc]  # torch is Any here
    """A linear layer of any precision with its adapters: `base(x)` plus what the rows' adapters add."""

    def __init__(self, base: torch.nn.Module, site: LoraSite, bank: AdapterBank) -> None:
        super().__init__()
        self.base, self._site, self._bank = base, site, bank
        self.in_features, self.out_features = site.inputs, site.outputs
        self.at_head = False  # it sees only the rows whose logits are wanted

    @property
    def weight(self) -> Any:
        """The base layer's, for model code that asks for its type."""
        return self.base.weight

    @property
    def bias(self) -> Any:
        """The base layer's, likewise."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]; `bank.rows` has the adapter of each row (all but the last dimension)."""
        y: Tensor = self.base(x)
        rows = self._bank.head_rows if self.at_head else self._bank.rows
        if rows is None:
            return y
        flat = y.reshape(-1, self._site.outputs)
        if len(flat) != len(rows.slots):
            rows = self._others(rows, len(flat), len(x))
        if not rows.active:
            return y
        return self._site.add_(flat, x.reshape(-1, self._site.inputs), rows).view(y.shape)

    def _others(self, rows: BatchRows, count: int, sequences: int) -> BatchRows:
        """The rows of a layer that sees others than its place tells: a head all rows, a layer before it those wanted.

        A layer of sequences over caches of their own may see what is cached, too.
        """
        for known in (self._bank.rows, self._bank.wanted_rows, self._bank.head_rows):
            if known is not None and len(known.slots) == count:
                return known
        if sequences == len(rows.slots):
            return self._bank.batch(slot for slot in rows.slots for _ in range(count // sequences))
        assert len(set(rows.slots)) == 1, f"{count} rows for {len(rows.slots)} prepared"
        return self._bank.batch(rows.slots[:1] * count)


def wrap(
    model: torch.nn.Module, bank: AdapterBank, keep: Callable[[str], bool] | None = None
) -> tuple[str, ...]:
    """Put a `LoraLinear` around each linear layer, or those whose path `keep` accepts; returns the paths.

    Linear is what has `in_features` and `out_features`, or GPT-2's Conv1D (`nx`, `nf`), whatever its weights; not
    routers, some of which return more than a product.
    """
    paths = []
    for path, module in list(model.named_modules()):
        inputs = getattr(module, "in_features", getattr(module, "nx", None))
        outputs = getattr(module, "out_features", getattr(module, "nf", None))
        if isinstance(module, LoraLinear) or not isinstance(inputs, int) or not isinstance(outputs, int):
            continue
        if "Router" in type(module).__name__:
            continue
        if keep is None or keep(path):
            model.set_submodule(path, LoraLinear(module, bank.site([(path, outputs)], inputs, module), bank))
            paths.append(path)
    return tuple(paths)


def _first(items: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more
