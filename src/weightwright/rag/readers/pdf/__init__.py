"""PDF: glyphs with their places become lines in reading order, tables, values of forms and notes."""

__all__: list[str] = []
