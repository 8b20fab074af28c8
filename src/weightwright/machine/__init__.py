"""Everything about "this machine", said once: device, memory, heap, facts."""

__all__ = ["accelerators", "cpu", "device", "facts", "heap", "memory", "peak", "probe", "rates"]
