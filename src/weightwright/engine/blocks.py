"""The blocks (pages) of the KV cache: who holds them, and which hold tokens that a later request can use.

Blocks of a fixed number of tokens (§4.2) with reference counts (§4.4) after Kwon et al. 2023, "Efficient
Memory Management for Large Language Model Serving with PagedAttention". Here they are plain numbers.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from heapq import heappop, heappush

from weightwright.errors import SettingsError


def chain(previous: bytes, tokens: Sequence[int]) -> bytes:
    """Digest (16 bytes) of a full block: its tokens and, through `previous`, all tokens before it.

    `previous` is the digest of the block before; for the first block it is a salt that says which weights
    made the keys and values, so that one text under two adapters is never shared.
    """
    return blake2b(previous + array("q", tokens).tobytes(), digest_size=16).digest()


class BlockPool:
    """Blocks 0 … blocks-1 of `block_tokens` tokens each; SettingsError if either number is below 1.

    A block that nobody holds is free. If it was sealed, its digest still finds it until it is reused.
    """

    def __init__(self, blocks: int, block_tokens: int) -> None:
        if blocks < 1:
            raise SettingsError(f"blocks must be at least 1, got {blocks}; give the KV cache more memory")
        if block_tokens < 1:
            raise SettingsError(f"block_tokens must be at least 1, got {block_tokens}")
        self.blocks = blocks
        self.block_tokens = block_tokens
        self._references = [0] * blocks
        self._digests: list[bytes | None] = [None] * blocks  # what each block is registered under
        self._index: dict[bytes, int] = {}
        # Free ones: of no use to anyone, the lowest first, so that what is in use lies together and is read faster;
        # and registered in the index, least recently freed first.
        self._empty = list(range(blocks))
        self._cached: OrderedDict[int, None] = OrderedDict()

    @property
    def free_blocks(self) -> int:
        """Blocks that `allocate` can give out, registered ones included."""
        return len(self._empty) + len(self._cached)

    def references(self, block: int) -> int:
        """How many holders the block has; 0 if it is free."""
        return self._references[block]

    def allocate(self) -> int | None:
        """A block with one reference, or None if all are held; registered ones are given out last."""
        if self._empty:
            block = heappop(self._empty)
        elif self._cached:
            block, _ = self._cached.popitem(last=False)
            digest = self._digests[block]
            assert digest is not None
            del self._index[digest]
            self._digests[block] = None
        else:
            return None
        self._references[block] = 1
        return block

    def share(self, block: int) -> None:
        """One holder more, of a block that is held or was found by its digest."""
        if not self._references[block]:
            del self._cached[block]
        self._references[block] += 1

    def release(self, block: int) -> None:
        """One holder fewer; without holders the block is free."""
        assert self._references[block] > 0, f"block {block} is released more often than it was taken"
        self._references[block] -= 1
        if self._references[block]:
            return
        if self._digests[block] is None:
            heappush(self._empty, block)
        else:
            self._cached[block] = None

    def seal(self, block: int, digest: bytes) -> None:
        """Register a full, held block under its digest; another block's registration stays as it is."""
        assert self._references[block] > 0, f"block {block} is free and cannot be sealed"
        if self._index.setdefault(digest, block) == block:
            assert self._digests[block] in {None, digest}, f"block {block} is sealed already"
            self._digests[block] = digest

    def find(self, digest: bytes) -> int | None:
        """The block registered under the digest, held or free; `share` it before the next `allocate`."""
        return self._index.get(digest)
