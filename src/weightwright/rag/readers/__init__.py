"""One reader for each kind of file: bytes in, text and page starts out."""

__all__ = ["base", "corpus", "encoding", "html", "limits", "markdown"]
