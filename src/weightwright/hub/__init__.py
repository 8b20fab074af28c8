"""Models from a hub into the local store, and what stands there."""
