"""Blocks of the KV cache: references, what a digest finds, and in which order free blocks are reused."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from weightwright.engine.blocks import BlockPool, chain
from weightwright.errors import SettingsError


def taken(pool: BlockPool, count: int) -> list[int]:
    blocks = [pool.allocate() for _ in range(count)]
    assert None not in blocks
    return blocks  # type: ignore[return-value]


def test_each_block_is_given_out_once_and_then_none() -> None:
    pool = BlockPool(3, 16)
    assert sorted(taken(pool, 3)) == [0, 1, 2]
    assert pool.allocate() is None
    assert pool.free_blocks == 0


def test_a_shared_block_is_free_only_after_its_last_holder() -> None:
    pool = BlockPool(1, 16)
    (block,) = taken(pool, 1)
    pool.share(block)
    assert pool.references(block) == 2
    pool.release(block)
    assert (pool.references(block), pool.free_blocks, pool.allocate()) == (1, 0, None)
    pool.release(block)
    assert (pool.references(block), pool.free_blocks) == (0, 1)


def test_a_released_block_is_found_until_it_is_reused() -> None:
    pool = BlockPool(1, 2)
    (block,) = taken(pool, 1)
    digest = chain(b"", [1, 2])
    pool.seal(block, digest)
    pool.release(block)
    assert pool.find(digest) == block
    pool.share(block)
    assert pool.free_blocks == 0
    pool.release(block)
    assert pool.allocate() == block
    assert pool.find(digest) is None


def test_blocks_without_tokens_are_reused_first_then_the_least_recently_freed() -> None:
    pool = BlockPool(4, 2)
    a, b, c, d = taken(pool, 4)
    for block in (a, b, c):
        pool.seal(block, bytes([block]))
    for block in (c, a, d, b):
        pool.release(block)
    pool.share(c)  # used once more: now freed last
    pool.release(c)
    assert taken(pool, 4) == [d, a, b, c]


def test_the_first_block_under_a_digest_stays_registered() -> None:
    pool = BlockPool(2, 2)
    first, twin = taken(pool, 2)
    pool.seal(first, b"same")
    pool.seal(twin, b"same")
    assert pool.find(b"same") == first
    pool.release(twin)
    assert pool.allocate() == twin  # it was never registered, so reusing it drops nothing
    assert pool.find(b"same") == first


def test_a_digest_says_all_tokens_before_and_the_salt() -> None:
    root = chain(b"", [1, 2])
    assert root == chain(b"", (1, 2))
    assert len(root) == 16
    others = [chain(b"adapter", [1, 2]), chain(b"", [2, 1]), chain(b"", [1, 258]), chain(root, [1, 2])]
    assert len({root, *others}) == 5


@pytest.mark.parametrize(("blocks", "block_tokens"), [(0, 16), (4, 0)])
def test_a_pool_without_room_is_refused(blocks: int, block_tokens: int) -> None:
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        BlockPool(blocks, block_tokens)


def test_releasing_too_often_or_sealing_twice_is_caught() -> None:
    pool = BlockPool(1, 2)
    (block,) = taken(pool, 1)
    pool.seal(block, b"one")
    with pytest.raises(AssertionError, match="sealed already"):
        pool.seal(block, b"two")
    pool.release(block)
    with pytest.raises(AssertionError, match="more often"):
        pool.release(block)


class PoolAgainstModel(RuleBasedStateMachine):
    """The pool beside lists and a dictionary; the order of reuse included."""

    @initialize(blocks=st.integers(1, 5))
    def start(self, blocks: int) -> None:
        self.pool = BlockPool(blocks, 2)
        self.held: list[int] = []  # one entry per reference
        self.free = list(range(blocks))  # by the time of release, which counts for registered ones
        self.index: dict[bytes, int] = {}

    @rule()
    def allocate(self) -> None:
        registered = set(self.index.values())
        order = sorted(b for b in self.free if b not in registered) + [
            b for b in self.free if b in registered
        ]
        block = self.pool.allocate()
        assert block == (order[0] if order else None)
        if block is not None:
            self.free.remove(block)
            self.held.append(block)
            self.index = {digest: b for digest, b in self.index.items() if b != block}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.held))
        self.pool.release(block)
        self.held.remove(block)
        if block not in self.held:
            self.free.append(block)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), digest=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def seal(self, data: st.DataObject, digest: bytes) -> None:
        block = data.draw(st.sampled_from(self.held))
        if block not in self.index.values():
            self.pool.seal(block, digest)
            self.index.setdefault(digest, block)

    @rule(digest=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def find_and_share(self, digest: bytes) -> None:
        block = self.pool.find(digest)
        assert block == self.index.get(digest)
        if block is not None:
            self.pool.share(block)
            self.held.append(block)
            if block in self.free:
                self.free.remove(block)

    @invariant()
    def counts_agree(self) -> None:
        holders = Counter(self.held)
        assert [self.pool.references(b) for b in range(self.pool.blocks)] == [
            holders[b] for b in range(self.pool.blocks)
        ]
        assert self.pool.free_blocks == len(self.free)


TestPoolAgainstModel = PoolAgainstModel.TestCase
TestPoolAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
