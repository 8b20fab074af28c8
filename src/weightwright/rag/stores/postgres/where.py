"""A Filter as a condition in PostgreSQL's SQL, with the meaning that `filters.matches` gives it."""

from weightwright.ports import MetadataValue
from weightwright.rag.stores.filters import And, Compare, Filter, Not, Or

_COLUMNS = {
    "document": "d.document_id",
    "path": "d.path",
    "title": "d.title",
    "version": "d.version",
    "modified": "d.modified",
}
_NUMBER = (
    "(CASE d.metadata ->> %s WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE (d.metadata ->> %s)::numeric END)"
)
_OPERATORS = ("=", "!=", "<", "<=", ">", ">=")


def condition(where: Filter | None) -> tuple[str, list[MetadataValue]]:
    """The condition over `documents d`, never NULL, and its parameters."""
    match where:
        case None:
            return "true", []
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
    made = [condition(part) for part in parts]
    return (
        "(" + f" {word} ".join(f"({clause})" for clause, _ in made) + ")",
        [value for _, values in made for value in values],
    )


def _compare(where: Compare) -> tuple[str, list[MetadataValue]]:
    field, value = where.field, where.value
    if isinstance(value, tuple):
        if where.operator != "in":
            return "false", []
        return _joined(tuple(Compare(field, "=", each) for each in value), "OR")
    if where.operator not in (*_OPERATORS, "~") or (where.operator == "~" and not isinstance(value, str)):
        return "false", []
    if field in _COLUMNS:
        if not isinstance(value, str):
            return "false", []
        return _test(where.operator, _COLUMNS[field]), [value]
    if isinstance(value, str):
        kinds, inner = "'string'", _test(where.operator, "(d.metadata ->> %s)")
    else:  # true and false are 1 and 0, as in Python
        kinds, inner = "'number', 'boolean'", f"{_NUMBER} {where.operator} %s::numeric"
    names = [field] * (inner.count("%s") - 1)
    # CASE, because the cast of a text must not be computed
    clause = f"CASE WHEN jsonb_typeof(d.metadata -> %s) IN ({kinds}) THEN {inner} ELSE false END"
    return clause, [field, *names, value if isinstance(value, str) else repr(+value)]


def _test(operator: str, left: str) -> str:
    return f"strpos({left}, %s) > 0" if operator == "~" else f'{left} COLLATE "C" {operator} %s'
