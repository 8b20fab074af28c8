"""One reader for each kind of file: bytes in, text and page starts out."""
