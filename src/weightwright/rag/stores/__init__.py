"""Vector stores behind one contract."""
