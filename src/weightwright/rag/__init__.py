"""From files to answers with checked citations: load, chunk, embed, store, retrieve, answer, cite.

The way of a question: `retrieve` finds chunks in a store, `context` makes them into passages, `answer` asks
a Chat, and `cite` keeps only the marks that the cited range supports.
"""

__all__ = [
    "analyze",
    "answer",
    "cite",
    "context",
    "copying",
    "embedders",
    "evaluate",
    "evaluate_answers",
    "extract",
    "index",
    "languages",
    "load",
    "readers",
    "reindex",
    "settings",
    "stores",
]
