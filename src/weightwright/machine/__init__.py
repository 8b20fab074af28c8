"""Everything about "this machine", said once: device, memory, heap, facts."""
