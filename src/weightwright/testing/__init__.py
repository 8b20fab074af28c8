"""What outsiders can reuse in their own tests: the store contract and tiny seeded models."""
