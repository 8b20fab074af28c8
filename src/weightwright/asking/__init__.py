"""Many questions under way at a Chat, and their answers, kept."""
