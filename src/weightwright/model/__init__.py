"""A model's way from an address to loaded weights: grammar, hub, local store, loading."""
