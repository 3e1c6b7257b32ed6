"""Which metrics a training function reports: as its file declares them, or as its calls of ``report`` name them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import UserError
from .code import Code, Module, label_of, parsed

DECLARED = "METRICS"


def metrics_of(code: Code, reporter: str | None, declared: Any) -> dict[str, str]:
    """Metric to what it means.

    Args:
        reporter: the argument by which the function reports; None where it only yields.
        declared: what the file says in ``METRICS``, if it does.

    Raises:
        UserError: it declares none, and not all of them can be read from its calls.
    """
    where = label_of(code.name)
    if declared is not None:
        if isinstance(declared, Mapping) and all(isinstance(name, str) for name in declared):
            return {name: str(text) for name, text in declared.items()}
        raise UserError(
            f"`{DECLARED}` must be a mapping of names to what they mean", key="system", value=where,
            fix=f"Write `{DECLARED} = {{'loss': 'mean over a batch'}}`.",
        )  # fmt: skip
    found: dict[str, str] = {}
    for module in code.modules:
        for node in ast.walk(parsed(module)):
            for name, is_open in _named(node, reporter, code.attribute, module):
                if is_open:
                    raise UserError(
                        f"{module.file}, line {getattr(node, 'lineno', 0)}: reports metrics whose names stand nowhere",
                        key="system", value=where, fix=_DECLARE,
                    )  # fmt: skip
                found.setdefault(name, f"as reported in {module.inside}, line {getattr(node, 'lineno', 0)}")
    if not found:
        raise UserError("reports no metric by name", key="system", value=where, fix=_DECLARE)
    return found


_DECLARE = f"Report them by name (`report(step, loss=loss)`), or declare them: `{DECLARED} = {{'loss': 'what it means'}}`."


def _named(node: ast.AST, reporter: str | None, function: str, module: Module) -> Iterator[tuple[str, bool]]:
    """Names that one place in a file reports; with True where it reports some that it does not name."""
    if isinstance(node, ast.Call) and reporter and _called(node) == reporter and (node.args or node.keywords):
        for keyword in node.keywords:
            yield keyword.arg or "", keyword.arg is None
    elif isinstance(node, ast.FunctionDef) and node.name == function:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Yield) and inner.value is not None:
                yield from _yielded(inner.value)


def _called(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else None


def _yielded(value: ast.expr) -> Iterator[tuple[str, bool]]:
    if isinstance(value, ast.Tuple) and len(value.elts) == 2:
        value = value.elts[1]
    if isinstance(value, ast.Dict):
        for key in value.keys:
            named = isinstance(key, ast.Constant) and isinstance(key.value, str)
            yield (key.value if named else ""), not named  # type: ignore[union-attr]
    elif isinstance(value, ast.Call) and _called(value) == "dict":
        for keyword in value.keywords:
            yield keyword.arg or "", keyword.arg is None
    else:
        yield "", True
