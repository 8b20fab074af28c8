"""Texts to vectors with a sentence-transformers folder: our own passes for BERT's kind, the library for the rest."""

__all__ = ["opening"]
