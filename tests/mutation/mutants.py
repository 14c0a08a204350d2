"""The mutants of a module: each is its source with one small fault. Pure.

The faults are the usual ones of the literature (a comparison, a boundary, a number, a logical
operator, a statement left out …). Not mutated is what no behaviour hangs on: annotations,
docstrings, log lines, and texts with a space in them, which are for people.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_LEFT_OUT = (ast.AugAssign, ast.Delete, ast.Expr, ast.Raise)
_NOTHING = ("return", "return None")
_PASSED_OVER = {"annotation", "returns", "decorator_list", "type_params"}


@dataclass(frozen=True)
class Mutant:
    """One fault in one module.

    Attributes:
        line: where it stands.
        scope: the function or class around it, dotted; empty for the module's own lines.
        before, after: the statement's code (its head alone, when it has a body).
        nth: which it is of the same faults in the scope, from 0.
    """

    line: int
    scope: str
    before: str
    after: str
    nth: int

    @property
    def name(self) -> str:
        """Names the fault, as long as neither its function nor its statement changes: eight hex
        digits."""
        told = f"{self.scope}\n{self.before}\n{self.after}\n{self.nth}"
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    def is_in(self, within: Sequence[str], without: Sequence[str]) -> bool:
        """Whether it stands in scopes that are asked for."""

        def stands(scopes: Sequence[str]) -> bool:
            return any(f"{self.scope}.".startswith(f"{scope}.") for scope in scopes)

        return (not within or stands(within)) and not stands(without)


def mutants(source: str, within: Sequence[str] = (), without: Sequence[str] = ()) -> list[Mutant]:
    """The mutants of a source, in the order of its lines.

    Of the scopes `within` (all, where none is named) and not of those `without`; a scope stands
    for what is in it as well.
    """
    return [mutant for mutant, _ in _each(source) if mutant.is_in(within, without)]


def with_fault(source: str, mutant: Mutant) -> ast.Module:
    """The module that is the mutant."""
    module = next(module for each, module in _each(source) if each == mutant)
    return ast.fix_missing_locations(module)


def _each(source: str) -> Iterator[tuple[Mutant, ast.Module]]:
    """Every mutant with the module, which has its fault until the next is asked for."""
    module = ast.parse(source)
    counted: Counter[tuple[str, str, str]] = Counter()
    for statement, scope in list(_statements(module.body, "")):
        before = _head(statement)
        for undo in _faults(statement):
            same = (scope, before, _head(statement))
            yield Mutant(statement.lineno, *same, counted[same]), module
            counted[same] += 1
            undo()


def _statements(body: list[ast.stmt], scope: str) -> Iterator[tuple[ast.stmt, str]]:
    """Every statement with its scope, docstrings and imports left out."""
    for statement in body:
        inner = scope
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{scope}.{statement.name}".lstrip(".")
        if not _says_nothing(statement):
            yield statement, inner
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, name, []), inner)
        for handler in getattr(statement, "handlers", []):
            yield from _statements(handler.body, inner)


def _says_nothing(statement: ast.stmt) -> bool:
    """Whether it is nothing that a behaviour could hang on."""
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass):
        return True
    if isinstance(statement, ast.Assign) and ast.unparse(statement.value).startswith("TypeVar("):
        return True
    if not isinstance(statement, ast.Expr):
        return False
    if isinstance(statement.value, ast.Constant):
        return True
    return ast.unparse(statement).startswith(("log.", "print("))


def _head(statement: ast.stmt) -> str:
    """The statement's code without the statements in it."""
    if not hasattr(statement, "body"):
        return ast.unparse(statement)
    bare = copy.copy(statement)
    for name in ("body", "orelse", "finalbody", "handlers"):
        if getattr(bare, name, None):
            setattr(bare, name, [ast.Pass()] if name == "body" else [])
    if isinstance(bare, ast.Try):
        bare.finalbody = [ast.Pass()]
    text = ast.unparse(bare)
    return text.rsplit(":", 1)[0] if text.endswith("pass") else text


_Undo = Callable[[], None]


def _faults(statement: ast.stmt) -> Iterator[_Undo]:
    """Puts one fault after the other into a statement; each stands until it is undone."""
    if _may_be_left_out(statement):
        yield _leave_out(statement)
    if isinstance(statement, ast.Return) and ast.unparse(statement) not in _NOTHING:
        yield _set(statement, "value", ast.Constant(None))
    if isinstance(statement, ast.If | ast.While):
        yield from _negated(statement)
    for node in _expressions(statement):
        yield from _faults_of(node)


def _negated(node: ast.If | ast.While | ast.IfExp) -> Iterator[_Undo]:
    """Negates a condition, but for those whose own faults do the same."""
    if not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield _set(node, "test", ast.UnaryOp(ast.Not(), node.test))


def _may_be_left_out(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):  # a name that is missing would be found by any test
        return not isinstance(statement.targets[0], ast.Name | ast.Tuple)
    return isinstance(statement, _LEFT_OUT)


def _leave_out(statement: ast.stmt) -> _Undo:
    """Makes the statement one that does nothing; it is another object's place that it takes."""
    kept, cls = dict(vars(statement)), statement.__class__
    place = {name: value for name, value in kept.items() if name.endswith(("lineno", "offset"))}

    def undo() -> None:
        statement.__class__ = cls
        vars(statement).clear()
        vars(statement).update(kept)

    vars(statement).clear()
    vars(statement).update(place)
    statement.__class__ = ast.Pass  # in place: its parent holds it
    return undo


def _set(node: ast.AST, name: str, value: object) -> _Undo:
    kept = getattr(node, name)

    def undo() -> None:
        setattr(node, name, kept)

    setattr(node, name, value)
    return undo


def _expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement, those of the statements in it and of annotations left out."""
    for name, value in ast.iter_fields(statement):
        if name in _PASSED_OVER:
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(node, ast.stmt | ast.ExceptHandler):
                yield from _walk(node)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.JoinedStr) and any(" " in text for text in _texts(node)):
        return
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        return  # a type
    yield node
    for name, value in ast.iter_fields(node):
        if name in _PASSED_OVER:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.stmt):
                yield from _walk(child)


def _texts(node: ast.JoinedStr) -> list[str]:
    return [str(part.value) for part in node.values if isinstance(part, ast.Constant)]


def _faults_of(node: ast.AST) -> Iterator[_Undo]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                changed = list(node.ops)
                changed[place] = other()
                yield _set(node, "ops", changed)
    elif isinstance(node, ast.BoolOp):
        yield _set(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        without = ast.Constant(isinstance(node.op, ast.And))
        for place in range(len(node.values)):
            yield _set(node, "values", [*node.values[:place], without, *node.values[place + 1 :]])
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _OPERATORS:
        yield _set(node, "op", _OPERATORS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _set(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, ast.IfExp):
        yield from _negated(node)
    elif isinstance(node, ast.comprehension):
        for place, test in enumerate(node.ifs):
            changed_ifs = list(node.ifs)
            changed_ifs[place] = ast.UnaryOp(ast.Not(), test)
            yield _set(node, "ifs", changed_ifs)
    elif isinstance(node, ast.Call) and len(node.keywords) > 0:
        for place in range(len(node.keywords)):
            yield _set(node, "keywords", node.keywords[:place] + node.keywords[place + 1 :])
    elif isinstance(node, ast.Constant):
        for value in _other_values(node.value):
            yield _set(node, "value", value)


def _other_values(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
        yield value - 1
    elif isinstance(value, str) and " " not in value:
        yield value + "x" if value else "x"
    elif isinstance(value, bytes) and b" " not in value:
        yield value + b"x"
