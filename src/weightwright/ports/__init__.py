"""The few shared words: messages, documents, chunks, hits and answers; the Chat and Embedder protocols.

A layer that needs a model or an embedder is handed one of these and never asks what is behind it.
"""

from weightwright.ports.chat import (
    Chat,
    ChatRequest,
    ChatResult,
    Completion,
    FinishReason,
    Grounding,
    Message,
    Piece,
    Reply,
    Role,
    Score,
    TokenLogprob,
    ToolCall,
    Usage,
    joined,
)
from weightwright.ports.documents import (
    Block,
    Chunk,
    ChunkId,
    Citation,
    Document,
    Embedder,
    Hit,
    MetadataValue,
    Place,
    Vectors,
    place_at,
)
from weightwright.ports.progress import Progress, silent
from weightwright.ports.sampling import SamplingParams, StructuredOutputs, StructuredOutputsParams
from weightwright.ports.tokenizer import Tokenizer

__all__ = [
    "Block",
    "Chat",
    "ChatRequest",
    "ChatResult",
    "Chunk",
    "ChunkId",
    "Citation",
    "Completion",
    "Document",
    "Embedder",
    "FinishReason",
    "Grounding",
    "Hit",
    "Message",
    "MetadataValue",
    "Piece",
    "Place",
    "Progress",
    "Reply",
    "Role",
    "SamplingParams",
    "Score",
    "StructuredOutputs",
    "StructuredOutputsParams",
    "TokenLogprob",
    "Tokenizer",
    "ToolCall",
    "Usage",
    "Vectors",
    "joined",
    "place_at",
    "silent",
]
