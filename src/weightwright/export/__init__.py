"""One model of base and adapter, for other programs too: merged folders, GGUF, Modelfiles."""

__all__ = ["run"]
