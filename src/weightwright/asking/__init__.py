"""Many questions under way at a Chat; their answers kept by a hash of all that made them, so that asking resumes.

`digest` makes a key, `Answers.finished` says what is kept, `ask_and_keep` asks the rest.
"""

__all__ = ["answers", "ask"]
