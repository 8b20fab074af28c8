"""Sampling against transformers' processors and against numpy in f64; draws against chi-square."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers.generation.logits_process import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from weightwright.engine.sampling import draw as drawing
from weightwright.engine.sampling.choice import Choice, bad_word_ids, check_ids
from weightwright.engine.sampling.draw import likeliest, log_mass, top
from weightwright.engine.sampling.logits import shape
from weightwright.engine.sampling.sample import NOTHING, choose, choose_drafted, logprobs_of
from weightwright.errors import RequestError
from weightwright.ports.sampling import SamplingParams

VOCAB = 2_000
RNG = np.random.default_rng(0)


def choice(prompt=(), output=(), end_ids=(), index=0, bad_words=(), **params) -> Choice:
    made = Choice(SamplingParams(max_tokens=None, **params), index, prompt, end_ids, None, bad_words)
    for token in output:
        made.accept(token)
    return made


def random_logits(rows: int, vocab: int = VOCAB, spread: float = 3.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * spread


def probabilities(logits: torch.Tensor, params: SamplingParams) -> np.ndarray:
    """The distribution that one row is drawn from."""
    vocab = logits.shape[1]
    if not drawing._narrow(params, vocab):
        weights = drawing._weights(logits, np.array([params.temperature])).flatten(1)[0, :vocab].numpy()
        return weights.astype(np.float64) / weights.sum(dtype=np.float64)
    for size in (*(s for s in drawing._CANDIDATES if s < vocab), vocab):
        if params.top_k > size < vocab:
            continue
        kept = drawing._Kept(logits, top(logits, size), [params])
        if kept.covered[0]:
            result = np.zeros(vocab)
            result[kept.ids[0]] = np.diff(kept.mass[0], prepend=0) / kept.mass[0, -1]
            return result
    raise AssertionError("the whole vocabulary must cover what is kept")


# --- distributions ----------------------------------------------------------------------------------

WARPERS = [
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 3},
    {"temperature": 1.3, "top_p": 0.6},
    {"temperature": 1.0, "min_p": 0.2},
    {"temperature": 0.9, "top_k": 5, "top_p": 0.8, "min_p": 0.05},
    {"temperature": 1.0, "top_p": 1e-6},
    {"temperature": 0.3},
    {"temperature": 5.0, "top_p": 0.9},
    {"temperature": 2.0, "top_k": 1500},
    {"temperature": 50.0, "top_p": 0.999},
    {"temperature": 4.0, "min_p": 0.001},
    {"temperature": 3.0, "min_p": 0.01, "top_p": 0.9},
    {"temperature": 1.0, "top_k": 70, "top_p": 0.99},
    {"temperature": 1.0, "min_p": 1.0},
    {"temperature": 1.0, "top_k": 1},
]


def reference(logits: torch.Tensor, params: SamplingParams) -> np.ndarray:
    """transformers' own processors in f64, in vLLM's order."""
    chain: list[LogitsProcessor] = [TemperatureLogitsWarper(float(params.temperature))]
    if params.min_p > 0:
        chain.append(MinPLogitsWarper(params.min_p))
    if params.top_k > 0:
        chain.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        chain.append(TopPLogitsWarper(params.top_p))
    scores = logits.double()
    for processor in chain:
        scores = processor(torch.zeros(1, 1, dtype=torch.long), scores)
    return scores.softmax(-1)[0].numpy()


@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize("fields", WARPERS, ids=str)
@pytest.mark.parametrize("vocab", [40, VOCAB, 12_345])
def test_distributions_equal_transformers(fields: dict, spread: float, vocab: int) -> None:
    logits = random_logits(1, vocab, spread)
    params = SamplingParams(**fields)
    got = probabilities(logits, params)
    np.testing.assert_allclose(got, reference(logits, params), atol=1e-6)


def test_all_that_tie_with_the_kth_stay_as_in_vllm() -> None:
    logits = torch.zeros(1, 300)
    logits[0, 7] = 1
    got = probabilities(logits, SamplingParams(top_k=2))
    np.testing.assert_allclose(got, reference(logits, SamplingParams(top_k=2)), atol=1e-9)
    assert (got > 0).all()


def test_top_p_is_a_share_of_what_top_k_leaves_when_many_tie() -> None:
    logits = torch.full((1, VOCAB), 0.9)
    logits[0, :100] = 1
    got = np.sort(probabilities(logits, SamplingParams(top_k=2, top_p=0.015)))
    np.testing.assert_allclose(got[-2:], 0.5, atol=1e-9)
    assert (got[:-2] == 0).all()


def counts_of(params: SamplingParams, logits: torch.Tensor, draws: int) -> np.ndarray:
    own = Choice(params, 0, (), ())
    rows = logits.expand(500, -1)
    tokens = [t for _ in range(draws // 500) for t in choose(rows, [own] * 500)]
    return np.bincount(tokens, minlength=logits.shape[1])


@pytest.mark.parametrize("fields", WARPERS[:7], ids=str)
def test_draws_have_the_frequencies_of_the_distribution(fields: dict) -> None:
    logits = random_logits(1, 300, 1.0)
    params = SamplingParams(**fields, seed=5)
    draws = 30_000
    seen = counts_of(params, logits, draws)
    expected = reference(logits, params) * draws
    assert (seen[expected == 0] == 0).all()
    rare = (expected > 0) & (expected < 8)  # chi-square wants no small cells: those are one
    observed = [*seen[expected >= 8], seen[rare].sum()]
    wanted = [*expected[expected >= 8], expected[rare].sum()]
    if wanted[-1] == 0:
        observed, wanted = observed[:-1], wanted[:-1]
    if len(wanted) > 1:
        assert chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 1e-3


def test_the_uniform_is_inverted_exactly_at_the_borders_of_blocks() -> None:
    logits = random_logits(1, 1_000, 1.0)
    mass = logits.double().softmax(-1)[0].cumsum(0).numpy()
    params = [SamplingParams()]
    for token in (0, 1, 126, 127, 128, 129, 255, 256, 895, 896, 998, 999):
        low = mass[token - 1] if token else 0.0
        for share in (0.01, 0.5, 0.99):
            u = low + share * (mass[token] - low)
            assert drawing.draw(logits, params, [u]) == [token]
    assert drawing.draw(logits, params, [0.0]) == [0]
    assert drawing.draw(logits, params, [1 - 2**-53]) == [999]
    logits[0, [*range(130), 999]] = -torch.inf
    assert drawing.draw(logits, params, [0.0]) == [130]
    assert drawing.draw(logits, params, [1 - 2**-53]) == [998]


@pytest.mark.parametrize("vocab", [100, 4_097, 50_257])
@pytest.mark.parametrize("k", [1, 20, 64, 300])
def test_top_equals_a_sort(vocab: int, k: int) -> None:
    k = min(k, vocab)
    logits = random_logits(3, vocab)
    logits[1, -1], logits[2, :] = 100.0, logits[2, :].sort().values
    values, ids = top(logits, k)
    expected, order = logits.sort(-1, descending=True)
    np.testing.assert_array_equal(values, expected[:, :k].double().numpy())
    np.testing.assert_array_equal(ids, order[:, :k].numpy())


# --- penalties, bias, masks ---------------------------------------------------------------------------


def shaped(own: Choice, logits: torch.Tensor) -> torch.Tensor:
    before = logits.clone()
    result = shape(logits, [0], [own])
    assert torch.equal(logits, before)
    return result


def test_repetition_equals_transformers() -> None:
    prompt, output = [3, 5, 5, 9], [11, 3, 11, 12]
    for penalty in (1.3, 0.7):
        logits = random_logits(1)
        expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([prompt + output]), logits.clone())
        got = shaped(choice(prompt, output, repetition_penalty=penalty), logits)
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-6)
        assert not torch.equal(got, logits)


def test_frequency_and_presence_count_the_output_alone() -> None:
    prompt, output = [3, 5], [11, 3, 11, 11, 12]
    logits = random_logits(1)
    expected = logits[0].double().numpy().copy()
    for token in set(output):
        expected[token] -= 0.4 * output.count(token) + 0.9
    got = shaped(choice(prompt, output, frequency_penalty=0.4, presence_penalty=0.9), logits)
    np.testing.assert_allclose(got[0].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_all_penalties_bias_and_masks_at_once_in_vllms_order() -> None:
    rng = np.random.default_rng(3)
    logits = random_logits(4)
    own, expected = [], logits.double().numpy().copy()
    for row in range(4):
        prompt = rng.integers(0, VOCAB, 300).tolist()
        output = rng.integers(0, VOCAB, 200).tolist() * 2
        bias = {int(t): float(b) for t, b in zip(rng.integers(0, VOCAB, 9), rng.normal(size=9), strict=True)}
        kept = sorted({*prompt[:50], *output[:50], 7, 8})
        own.append(
            choice(
                prompt,
                output,
                end_ids=[7],
                stop_token_ids=[8],
                min_tokens=1_000,
                logit_bias=bias,
                allowed_token_ids=kept,
                repetition_penalty=1.2,
                frequency_penalty=0.3,
                presence_penalty=-0.5,
            )
        )
        x = expected[row]
        for token, value in bias.items():
            x[token] += value
        x[np.setdiff1d(np.arange(VOCAB), kept)] = -np.inf
        x[[7, 8]] = -np.inf
        for token in {*prompt, *output}:
            x[token] = x[token] / 1.2 if x[token] > 0 else x[token] * 1.2
        for token in set(output):
            x[token] -= 0.3 * output.count(token) - 0.5
    got = shape(logits, range(4), own)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_bias_makes_a_token_certain_or_impossible() -> None:
    logits = random_logits(1, 50)
    best = likeliest(logits)[0]
    assert choose(logits, [choice(temperature=0, logit_bias={(best + 1) % 50: 100})]) == [(best + 1) % 50]
    own = choice(temperature=1, seed=1, logit_bias={best: -100})
    assert best not in {choose(logits, [own])[0] for _ in range(200)}


def test_ends_come_only_after_min_tokens() -> None:
    logits = torch.zeros(1, 10)
    logits[0, [4, 6]] = torch.tensor([9.0, 8.0])
    own = choice(end_ids=[4], stop_token_ids=[6], min_tokens=2, temperature=0)
    for _ in range(2):
        (token,) = choose(logits, [own])
        assert token not in (4, 6)
        own.accept(token)
    assert choose(logits, [own]) == [4]
    assert own.plain
    assert own.ends == {4, 6}
    assert choice(end_ids=[4], stop_token_ids=[6], ignore_eos=True).ends == {6}


def test_a_bad_word_of_several_tokens_is_broken_at_its_last_only() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]])
    own = choice(temperature=0, bad_words=[(1, 1, 1), (2,)])
    written = []
    for _ in range(6):
        (token,) = choose(logits, [own])
        own.accept(token)
        written.append(token)
    assert written == [1, 1, 3, 1, 1, 3]


def test_bad_words_are_found_at_the_start_and_after_a_space() -> None:
    vocabulary = {"no": [1], " no": [2], "long": [3, 4], " long": [5, 6, 7]}

    class Words:
        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            assert not add_special_tokens
            return vocabulary[text]

    assert bad_word_ids(Words(), [" no", "long"]) == ((1,), (2,), (3, 4))


def test_a_row_without_an_allowed_token_fails_by_itself() -> None:
    logits = torch.zeros(4, 10)
    logits[3] = torch.nan
    rows = [
        choice(temperature=0, allowed_token_ids=[3], bad_words=[(3,)]),
        choice(temperature=0.5, seed=1, top_k=4, allowed_token_ids=[3], bad_words=[(3,)]),
        choice(temperature=0.5, allowed_token_ids=[3]),
        choice(temperature=0.5),
    ]
    assert choose(logits, rows) == [NOTHING, NOTHING, 3, NOTHING]
    assert "after 0 tokens no token is allowed" in str(rows[0].failure())
    assert logprobs_of(logits, [NOTHING, 1, 3, 0], [1, None, 1, None])[:2] == [None, None]


def test_ids_outside_the_vocabulary_are_refused_by_name() -> None:
    for fields in ({"logit_bias": {10: 1}}, {"allowed_token_ids": [1, 10]}, {"stop_token_ids": [-1]}):
        with pytest.raises(RequestError, match=f"{next(iter(fields))} holds token (10|-1).* 10 tokens"):
            check_ids(SamplingParams(**fields), 10)
    check_ids(SamplingParams(logit_bias={9: 1}, stop_token_ids=[0]), 10)
    # a model's end token may lie beyond its logits
    own = choice(end_ids=[12], min_tokens=5, temperature=0)
    assert choose(torch.arange(10.0)[None], [own]) == [9]


# --- the batch ------------------------------------------------------------------------------------------

MIXED = [
    {"temperature": 0},
    {"temperature": 1.0, "seed": 1},
    {"temperature": 0.8, "top_p": 0.9, "seed": 2},
    {"temperature": 0, "repetition_penalty": 1.5},
    {"temperature": 1.2, "top_k": 20, "frequency_penalty": 1.0, "seed": 3},
    {"temperature": 1.0, "min_p": 0.05, "logit_bias": {5: 2.0}, "seed": 4},
    {"temperature": 0, "min_tokens": 4},
    {"temperature": 30.0, "top_p": 0.99, "seed": 5},
]


def written(rows: list[int], steps: int = 6) -> dict[int, list[int]]:
    """What these rows of MIXED write beside one another, in this order."""
    own = {row: choice([1, 2, 3], end_ids=[0], index=row, **MIXED[row]) for row in rows}
    for step in range(steps):
        logits = random_logits(len(MIXED), seed=step)[rows]
        for row, token in zip(rows, choose(logits, list(own.values())), strict=True):
            own[row].accept(token)
    return {row: own[row].output_ids for row in rows}


def test_rows_do_not_depend_on_the_batch_or_its_order() -> None:
    together = written(list(range(len(MIXED))))
    assert written(list(reversed(range(len(MIXED))))) == together
    for row in range(len(MIXED)):
        assert written([row]) == {row: together[row]}


def test_temperature_zero_takes_the_likeliest_beside_sampled_rows() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 0.0]])
    assert choose(logits, [choice(temperature=0), choice(temperature=0.01)]) == [1, 0]


def test_same_seed_same_draws_and_another_index_that_of_the_next_seed() -> None:
    logits = torch.zeros(1, 1000)

    def draws(seed: int | None, index: int) -> list[int]:
        own = choice(seed=seed, index=index)
        return [choose(logits, [own])[0] for _ in range(5)]

    assert draws(3, 0) == draws(3, 0)
    assert draws(3, 0) != draws(3, 1)
    assert draws(3, 1) == draws(4, 0)
    assert draws(None, 0) != draws(None, 0)
    assert draws(-2, 0) != draws(2, 0)


def test_greedy_rows_do_nothing_but_argmax(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        "weightwright.engine.sampling.sample.likeliest", lambda x: calls.append(x) or [0] * len(x)
    )
    for name in ("draw", "shape", "pick"):
        monkeypatch.setattr(f"weightwright.engine.sampling.sample.{name}", None)
    logits = random_logits(3)
    choose(logits, [choice(temperature=0) for _ in range(3)])
    assert len(calls) == 1
    assert calls[0] is logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_likeliest_is_torchs_argmax_the_first_of_equals(dtype: torch.dtype) -> None:
    logits = random_logits(5).to(dtype)
    logits[2, [10, 20]] = 99
    assert likeliest(logits) == logits.argmax(-1).tolist()
    assert likeliest(logits[:, ::1][:, 5:-5]) == logits[:, 5:-5].argmax(-1).tolist()


# --- log-probabilities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocab", [37, VOCAB, 12_345])
def test_logprobs_are_of_the_raw_logits(vocab: int) -> None:
    logits = random_logits(4, vocab)
    expected = logits.double().log_softmax(-1)
    tokens = [0, int(logits[1].argmax()), 5, 36]
    got = logprobs_of(logits, tokens, [2, 0, None, 20])
    assert got[2] is None
    for row, count in ((0, 2), (1, 0), (3, 20)):
        entry, own = got[row], expected[row]
        assert entry.token_id == tokens[row]
        assert entry.logprob == pytest.approx(float(own[tokens[row]]), abs=2e-6)
        assert entry.rank == int((own >= own[tokens[row]]).sum())
        values, ids = own.topk(count)
        assert [i for i, _ in entry.top] == ids.tolist()
        np.testing.assert_allclose([v for _, v in entry.top], values.numpy(), atol=2e-6)
    assert got[1].rank == 1
    np.testing.assert_allclose(log_mass(logits), logits.double().logsumexp(-1).numpy(), atol=2e-6)


# --- drafts -------------------------------------------------------------------------------------------------


def model(history: list[int], row: int) -> torch.Tensor:
    """Logits [40] that depend on the last two tokens: a model."""
    return random_logits(1, 40, 2.0, seed=hash((row, *history[-2:])) % 2**31)[0]


def run(fields: dict, row: int, drafted: bool, length: int = 40) -> list[int]:
    """Tokens of one row, with random drafts (often right) or without."""
    rng = np.random.default_rng(row)
    own = choice([1, 2], end_ids=[39], index=row, bad_words=[(4, 5), (6,)], **fields)
    while len(own.output_ids) < length and not (own.output_ids and own.output_ids[-1] in own.ends):
        if not drafted:
            own.accept(choose(model(own.output_ids, row)[None], [own])[0])
            continue
        draft: list[int] = []
        for _ in range(int(rng.integers(0, 5))):
            ahead = model(own.output_ids + draft, row)
            draft.append(int(ahead.argmax()) if rng.random() < 0.8 else int(rng.integers(0, 40)))
        logits = torch.stack([model(own.output_ids + draft[:i], row) for i in range(len(draft) + 1)])
        before = len(own.output_ids)
        (tokens,) = choose_drafted(logits, [own], [draft])
        assert own.output_ids[before:] == tokens
        assert 1 <= len(tokens) <= len(draft) + 1
        assert tokens[:-1] == draft[: len(tokens) - 1]
    return own.output_ids[:length]


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"temperature": 0, "frequency_penalty": 1.0, "repetition_penalty": 1.1},
        {"temperature": 0, "min_tokens": 30},
        {"temperature": 0.5, "seed": 0},
        {"temperature": 0.9, "seed": 1, "top_p": 0.8, "presence_penalty": 1.0, "min_tokens": 10},
        {"temperature": 0.4, "seed": 2, "ignore_eos": True, "logit_bias": {3: 1.0}},
    ],
    ids=str,
)
def test_drafts_change_nothing(fields: dict) -> None:
    for row in range(4):
        assert run(fields, row, drafted=True) == run(fields, row, drafted=False)


def test_drafts_of_several_rows_of_all_kinds_at_once() -> None:
    logits = torch.full((9, 10), -5.0)
    for position, token in enumerate([1, 2, 3, 4, 5, 9, 7, 8, 6]):
        logits[position, token] = 50.0
    rows = [
        choice(temperature=0),
        choice(temperature=1.0, seed=0),
        choice(temperature=0, end_ids=[9], presence_penalty=0.1),
    ]
    # right to its end; wrong at the second; right, but the end token ends it
    drafts = [[1, 2], [4, 6], [9, 7]]
    assert choose_drafted(logits, rows, drafts) == [[1, 2, 3], [4, 5], [7]]
    assert [own.output_ids for own in rows] == [[1, 2, 3], [4, 5], [7]]
    assert choose_drafted(logits[5:8], [choice(temperature=0, end_ids=[9])], [[9, 7]]) == [[9]]
    assert choose_drafted(logits[5:8], [choice(temperature=0)], [[9, 7]]) == [[9, 7, 8]]


def test_all_greedy_drafts_take_one_argmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightwright.engine.sampling.sample.choose", None)
    logits = torch.eye(10)[[1, 2, 3, 4]]
    assert choose_drafted(logits, [choice(temperature=0)] * 2, [[1, 2], []]) == [[1, 2, 3], [4]]


def test_a_draft_that_leads_nowhere_ends_with_nothing() -> None:
    own = choice(temperature=0, allowed_token_ids=[3], bad_words=[(3, 3)])
    assert choose_drafted(torch.zeros(3, 5), [own], [[3, 3]]) == [[3, NOTHING]]
    assert own.output_ids == [3]
