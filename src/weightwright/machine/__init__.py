"""Everything about "this machine", said once: device, memory, heap, facts."""

__all__ = ["cpu", "device", "facts", "heap", "memory", "peak"]
