"""A Filter as a condition in SQL, with the meaning that `filters.matches` gives it."""

from weightwright.ports import MetadataValue
from weightwright.rag.stores.filters import And, Compare, Filter, Not, Or

_COLUMNS = {
    "document": "d.document_id",
    "path": "d.path",
    "title": "d.title",
    "version": "d.version",
    "modified": "d.modified",
}
_SQL_OPERATORS = {"=": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def condition(where: Filter | None) -> tuple[str, list[MetadataValue]]:
    """The condition over `documents d`, never NULL, and its parameters."""
    match where:
        case None:
            return "1", []
        case And(parts):
            return _joined(parts, "AND")
        case Or(parts):
            return _joined(parts, "OR")
        case Not(part):
            clause, values = condition(part)
            return f"NOT ({clause})", values
        case Compare():
            return _compare(where)


def _joined(parts: tuple[Filter, ...], word: str) -> tuple[str, list[MetadataValue]]:
    clauses = [condition(part) for part in parts]
    return (
        "(" + f" {word} ".join(f"({clause})" for clause, _ in clauses) + ")",
        [value for _, values in clauses for value in values],
    )


def _compare(where: Compare) -> tuple[str, list[MetadataValue]]:
    if isinstance(where.value, tuple):
        if where.operator != "in":
            return "0", []
        return _joined(tuple(Compare(where.field, "=", value) for value in where.value), "OR")
    test = _test(where)
    if test is None:
        return "0", []
    if where.field in _COLUMNS:
        return test.format(value=_COLUMNS[where.field]), [where.value]
    inner = test.format(value="m.value")
    return f"EXISTS (SELECT 1 FROM json_each(d.metadata) m WHERE m.key = ? AND {inner})", [
        where.field,
        where.value,
    ]


def _test(where: Compare) -> str | None:
    """A test of `{value}` with one parameter; None where it can never hold."""
    text = isinstance(where.value, str)
    kind = "typeof({value}) = 'text'" if text else "typeof({value}) IN ('integer', 'real')"
    if where.operator == "~":
        return f"{kind} AND instr({{value}}, ?) > 0" if text else None
    if where.operator not in _SQL_OPERATORS:
        return None
    return f"{kind} AND {{value}} {_SQL_OPERATORS[where.operator]} ?"
