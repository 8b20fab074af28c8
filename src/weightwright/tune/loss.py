"""The vocabulary loss at labelled positions only.

Logits of all positions would be the largest tensor of a run and most of them carry no loss. Here the
backbone runs over all tokens, and only the hidden states that predict a labelled token meet the output head.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightwright.tune.batch import Batch
from weightwright.tune.head import head_logprobs, head_loss
from weightwright.weights.rope import steady_tokens


class VocabularyLoss:
    """Cross-entropy or log-probabilities of the tokens of a batch under a causal model."""

    def __init__(self, model: Any) -> None:
        """Choose the path: the head alone where it is all that stands after the backbone, else the model."""
        self._model = model
        self._head: Any = model.get_output_embeddings()
        self._head_alone = self._head is not None and _head_is_all(model, self._head)
        self._rope_changes = steady_tokens(model.config) < sys.maxsize

    def __call__(self, batch: Batch) -> Tensor:
        """Cross-entropy summed over labelled tokens, a scalar f32 whose gradient reaches every trainable weight."""
        where = batch.labelled
        chosen = batch.token_ids[:, 1:][where]
        if not self._head_alone:
            logits = self._model(**self._inputs(batch)).logits[:, :-1][where]
            return F.cross_entropy(logits.float(), chosen, reduction="sum")
        hidden = self._model.base_model(**self._inputs(batch)).last_hidden_state
        return head_loss(hidden[:, :-1][where], self._head, chosen)

    def logprobs(self, batch: Batch, where: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probabilities f32 [chosen] of the tokens after the positions `where` [lines, width - 1] bool.

        Their logits, divided by `temperature`, are made a bounded number at a time, and again in the backward pass.
        """
        chosen = batch.token_ids[:, 1:][where]
        if not self._head_alone:
            logits = self._model(**self._inputs(batch)).logits[:, :-1][where]
            return -F.cross_entropy(logits.float() / temperature, chosen, reduction="none")
        hidden = self._model.base_model(**self._inputs(batch)).last_hidden_state
        return head_logprobs(hidden[:, :-1][where], self._head, chosen, temperature)

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        inputs: dict[str, Any] = {"input_ids": batch.token_ids, "use_cache": False}
        if batch.tree is not None or self._rope_changes:  # not every model takes positions
            inputs["position_ids"] = batch.positions
        if batch.tree is not None:
            inputs["packed_tree"] = batch.tree
        return inputs


def per_row(values: Tensor, owners: Tensor, rows: int) -> Tensor:
    """Sums of values [tokens] by the row that owns each: owners [tokens] i64 -> [rows]."""
    return values.new_zeros(rows).index_add(0, owners, values)


def _head_is_all(model: Any, head: nn.Module) -> bool:
    """Whether logits are head(last hidden state): no soft cap, no scale; seen by trying, not by a list."""
    probe = torch.arange(8, device=model.device).remainder(model.config.get_text_config().vocab_size)[None]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            whole = model(input_ids=probe, use_cache=False).logits
            alone = head(model.base_model(input_ids=probe, use_cache=False).last_hidden_state)
    except (AttributeError, TypeError):
        return False  # a backbone of another shape: the plain path is right for every model
    finally:
        model.train(training)
    # a soft cap moves small logits little, so the sizes it would act on are looked at as well
    capped = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return not capped and whole.shape == alone.shape and torch.allclose(whole, alone, rtol=1e-2, atol=1e-3)
