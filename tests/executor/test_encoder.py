"""An encoder's passes without padding: against transformers' BERT in f64, in each form, at odd lengths."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from weightwright.executor.encoder import Encoder, _passes, candidates  # noqa: E402
from weightwright.kernels import encode, pool  # noqa: E402
from weightwright.kernels.elementwise import Rows, Stored  # noqa: E402

pytestmark = pytest.mark.skipif(not pool.available(), reason="no kernels here")

LENGTHS = [1, 2, 7, 16, 33, 64, 65, 200]


def bert(heads, width):
    from transformers import BertConfig, BertModel

    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=90, hidden_size=heads * width, num_hidden_layers=2, num_attention_heads=heads,
        intermediate_size=160, max_position_embeddings=256, initializer_range=0.2,
    )  # fmt: skip
    model = BertModel(config).eval()
    for name, part in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(part, std=0.3)
    return model


@pytest.mark.parametrize(("heads", "width"), [(3, 32), (2, 16), (1, 48), (2, 64)])
@pytest.mark.parametrize("forms", [("f32", "f32"), ("bf16", "bf16"), ("int8", "int8"), ("int8", "bf16")])
def test_states_are_those_of_transformers(heads, width, forms):
    if forms not in candidates(2):
        pytest.skip(f"{forms} are not fast here")
    model = bert(heads, width)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    encoder = Encoder(weights, heads=heads, eps=1e-12, forms=forms)
    assert tuple(layer.down.form for layer in encoder._layers) == forms
    rows = [torch.randint(0, 90, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in LENGTHS]
    with torch.inference_mode():
        expected = [model.double()(torch.tensor([ids])).last_hidden_state[0] for ids in rows]
    found = list(encoder.states(rows))
    assert [len(states) for states in found] == LENGTHS
    # attention is in bf16 where the CPU multiplies it
    least = {"f32": 0.9999, "bf16": 0.999, "int8": 0.99}[forms[0]]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.nn.functional.cosine_similarity(ours.double(), theirs).min() > least


def test_attention_sees_its_own_text_only():
    torch.manual_seed(0)
    heads, width = 2, 32
    x, bias = torch.randn(45, 3 * heads * width), torch.randn(3 * heads * width)
    scales = torch.rand(45) + 0.5
    starts = torch.tensor([0, 5, 45])
    mixed = encode.attend(Rows(x, scales), bias, starts, 40, heads)
    q, k, v = (x * scales[:, None] + bias).view(45, 3, heads, width).double().unbind(1)
    for begin, end in ((0, 5), (5, 45)):
        parts = (part[begin:end].transpose(0, 1) for part in (q, k, v))
        expected = torch.nn.functional.scaled_dot_product_attention(*parts).transpose(0, 1).flatten(1)
        # bf16 has 8 bits: queries, keys, weights and values are each rounded to 2^-9 of themselves
        np.testing.assert_allclose(mixed[begin:end], expected, atol=0.05 * float(v.abs().max()))
        alone = encode.attend(Rows(x[begin:end].contiguous(), scales[begin:end].contiguous()), bias,
                              torch.tensor([0, end - begin]), end - begin, heads)  # fmt: skip
        assert torch.equal(alone, mixed[begin:end])


def test_gelu_and_norm_are_torchs():
    torch.manual_seed(1)
    x, bias = 4 * torch.randn(9, 96), torch.randn(96)
    found = encode.gelu(Rows(x), bias, Stored(torch.float32))
    torch.testing.assert_close(found.data, torch.nn.functional.gelu(x + bias), atol=4e-6, rtol=1e-5)
    hidden, weight, shift = torch.randn(9, 96), torch.randn(96), torch.randn(96)
    expected = torch.nn.functional.layer_norm(hidden + x + bias, (96,), weight, shift, 1e-5)
    rows = encode.add_norm(hidden, Rows(x), bias, (weight, shift), 1e-5, Stored(torch.float32))
    torch.testing.assert_close(rows.data, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(hidden, rows.data)


def test_passes_hold_every_text_once_in_order():
    lengths = [300, 500, 400, 2000, 1, 1, 1023]
    assert _passes(lengths) == [[0, 1], [2], [3], [4, 5], [6]]
    assert _passes([]) == []
