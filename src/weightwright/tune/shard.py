"""A model's weights divided over processes by FSDP2 (`torch.distributed.fsdp.fully_shard`).

Each layer is put together when it is computed and taken apart after it. What is outside the layers (embedding, last
norm, head) is put together for a whole pass: `Root`, whose forward pass is whatever uses the model. The loss asks the
backbone and the head one by one, so the model's own forward pass would be no place for that.

Frozen weights and an adapter's f32 ones are divided alike: FSDP2 gathers a group of mixed dtypes as bytes, and only
those with gradients must be of one dtype.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from weightwright.data.template import Encoded
from weightwright.errors import Place, TuneError
from weightwright.tune.batch import Batch, Example, pad
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.ranks import ProcessGroup

T = TypeVar("T")


class Root(nn.Module):  # type: ignore[misc]
    """The model's root module; calling it runs `compute` while the weights outside the layers are gathered."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Any]) -> Any:
        """The result of `compute`; the backward pass begins at it where it is a tensor."""
        output = compute()
        return output.clone() if isinstance(output, Tensor) else output  # FSDP2 hooks no views


class ShardedLoss(VocabularyLoss):
    """`VocabularyLoss` of a sharded model."""

    def __init__(self, root: Root, model: Any) -> None:
        self._root = root
        root(lambda: super(ShardedLoss, self).__init__(model))

    def __call__(self, batch: Batch) -> Tensor:
        """See `VocabularyLoss`."""
        loss: Tensor = self._root(lambda: super(ShardedLoss, self).__call__(batch))
        return loss

    def logprobs(self, batch: Batch, where: Tensor, temperature: float = 1.0) -> Tensor:
        """See `VocabularyLoss`."""
        gathered: Tensor = self._root(lambda: super(ShardedLoss, self).logprobs(batch, where, temperature))
        return gathered

    def idle(self, device: torch.device) -> None:
        """A pass that changes nothing, while other processes have one more: gathering weights needs all of them."""
        row = Encoded((0, 0), (False, True), Place())
        loss = self(pad([Example((row,))], device))
        if torch.is_grad_enabled():
            (loss * 0).backward()


def shard(model: Any, ranks: ProcessGroup, *, half: bool) -> Root:
    """Divide `model`, layer by layer, over all processes; afterwards its parameters are DTensors on their device.

    With `half` the f32 weights are gathered and computed with in bf16, gradients added up in f32: autocast would keep
    a bf16 copy of every whole weight until the backward pass. Raises TuneError for a model without layers.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
    root = Root(model)
    parts = [*layers(model), root]
    if len(parts) == 1:
        raise TuneError(
            f"fsdp=true finds no layers in {type(model).__name__} to divide; train in one process"
        )
    for part in parts:
        divided: Any = fully_shard(part, mesh=ranks.mesh, mp_policy=policy)
        # each loss is already a share of the step's mean: gradients are added up, not averaged
        divided.set_gradient_divide_factor(1.0)
        divided.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sums
    return root


def layers(model: nn.Module) -> Iterator[nn.Module]:
    """The model's consecutive layers: the members of its outermost ModuleLists that have parameters."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from (member for member in child if any(True for _ in member.parameters()))
        else:
            yield from layers(child)
