"""The grammar of one string: where a model, an embedder or a store is."""

__all__ = ["models", "names", "packages", "stores"]
