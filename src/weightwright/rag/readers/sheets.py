"""Rows of a spreadsheet: blocks between empty rows are tables of their own."""

from collections.abc import Iterator, Sequence

from weightwright.rag.readers.writer import TextWriter

Row = tuple[int, list[str]]


def write_rows(writer: TextWriter, rows: Sequence[Row], label: str) -> None:
    """Write numbered rows; `label` and the number make each one's place."""
    for block in _blocks(rows):
        first = min(_first_filled(cells) for _, cells in block)
        cells_of = [cells[first:] for _, cells in block]
        if max(map(len, cells_of)) == 1:
            for (number, _), cells in zip(block, cells_of, strict=True):
                writer.close()
                writer.place(f"{label}{number}")
                writer.line(cells[0])
            writer.apart()
        else:
            labels = [f"{label}{number}" for number, _ in block]
            writer.table(cells_of, header=names_columns(cells_of), labels=labels)


def _blocks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that follow each other without an empty one; a title of one cell stands for itself."""
    block: list[Row] = []
    for number, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if block and (number > block[-1][0] + 1 or (len(block) == 1 and _is_single(block[0]))):
            yield block
            block = []
        block.append((number, cells))
    if block:
        yield block


def _is_single(row: Row) -> bool:
    return sum(bool(cell.strip()) for cell in row[1]) == 1


def _first_filled(cells: list[str]) -> int:
    return next((number for number, cell in enumerate(cells) if cell.strip()), len(cells))


def names_columns(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: filled throughout with texts that are no numbers."""
    first = rows[0]
    filled = [cell for cell in first if cell.strip()]
    if len(rows) < 2 or len(filled) < 2 or len(filled) < 0.6 * max(map(len, rows)):
        return False
    return not any(_is_number(cell) for cell in filled) or _are_years(filled[1:])


def _are_years(cells: list[str]) -> bool:
    return bool(cells) and all(cell.isdecimal() and len(cell) == 4 for cell in cells)


def _is_number(cell: str) -> bool:
    digits = sum(character.isdigit() for character in cell)
    return digits > 0 and not any(character.isalpha() for character in cell)
