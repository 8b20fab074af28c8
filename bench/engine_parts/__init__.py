"""The parts of bench/engine.py: `measure(options)` gives Markdown, `child(...)` runs in a fresh process."""
