"""Reads Python sources without importing them: which names a module has, which methods and attributes a class has.

Works alike on a folder and inside a wheel, so that a vLLM built for another machine can be looked at on this one.
"""

import ast
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeGuard

Root = Path | zipfile.Path
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Class:
    """A class as it is written: `name` in `module`, its own members and its bases within the same tree."""

    module: str
    name: str
    methods: dict[str, Function]
    attributes: frozenset[str]
    bases: "tuple[Class, ...]"

    @cached_property
    def lineage(self) -> "tuple[Class, ...]":
        """The class and everything it inherits from, nearest first (no diamond among the classes looked at here)."""
        return (self, *(ancestor for base in self.bases for ancestor in base.lineage))

    def method(self, name: str) -> Function | None:
        return next((found for one in self.lineage if (found := one.methods.get(name)) is not None), None)

    def has(self, name: str) -> bool:
        return any(name in one.methods or name in one.attributes for one in self.lineage)


@dataclass(frozen=True)
class SourceTree:
    """The modules below `root`, a folder or a `zipfile.Path` that holds packages; `parsed` modules win over files."""

    root: Root
    parsed: dict[str, ast.Module | None] = field(default_factory=dict)

    def module(self, dotted: str) -> ast.Module | None:
        """The syntax tree of a module; None where there is none of that name."""
        if dotted not in self.parsed:
            self.parsed[dotted] = self._parse(dotted)
        return self.parsed[dotted]

    def _parse(self, dotted: str) -> ast.Module | None:
        *packages, last = dotted.split(".")
        folder = self.root
        for package in packages:
            folder = folder / package
        for file in (folder / f"{last}.py", folder / last / "__init__.py"):
            if file.is_file():
                return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        return None

    def has_name(self, dotted: str, name: str) -> bool:
        """Whether `from dotted import name` finds something."""
        if self.module(f"{dotted}.{name}") is not None:
            return True
        module = self.module(dotted)
        return module is not None and name in names_of(module)

    def definition(self, dotted: str, name: str) -> "tuple[str, ast.ClassDef | Function] | None":
        """Where a class or function is written, followed through imports, and its syntax tree."""
        module = self.module(dotted)
        if module is None:
            return None
        found = names_of(module).get(name)
        if isinstance(found, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            return dotted, found
        if isinstance(found, ast.ImportFrom) and found.module:
            origin = next(alias.name for alias in found.names if (alias.asname or alias.name) == name)
            return self.definition(found.module, origin)
        return None

    def class_of(self, dotted: str, name: str) -> Class | None:
        match self.definition(dotted, name):
            case module, ast.ClassDef() as node:
                pass
            case _:
                return None
        bases = (self.class_of(module, base.id) for base in node.bases if isinstance(base, ast.Name))
        methods = {item.name: item for item in node.body if isinstance(item, Function)}
        return Class(module, node.name, methods, attributes_of(node), tuple(base for base in bases if base))


def names_of(module: ast.Module) -> dict[str, ast.AST]:
    """What a module binds at its top level, also under `if` and `try`: name -> the statement that binds it."""
    bound: dict[str, ast.AST] = {}
    for statement in _top_level(module.body):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            bound[statement.name] = statement
        elif isinstance(statement, ast.ImportFrom | ast.Import):
            bound |= {alias.asname or alias.name: statement for alias in statement.names}
        elif isinstance(statement, ast.Assign):
            bound |= {target.id: statement for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            bound[statement.target.id] = statement
    return bound


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from _top_level(statement.body)
            yield from _top_level(statement.orelse)


def attributes_of(node: ast.ClassDef) -> frozenset[str]:
    """The fields of a class, and what its methods set on `self`."""
    fields = {
        item.target.id for item in node.body if isinstance(item, ast.AnnAssign) if isinstance(item.target, ast.Name)
    }
    plain = {
        name.id
        for item in node.body
        if isinstance(item, ast.Assign)
        for name in item.targets
        if isinstance(name, ast.Name)
    }
    stored = {item.attr for item in ast.walk(node) if is_of_self(item) and isinstance(item.ctx, ast.Store)}
    return frozenset(fields | plain | stored)


def is_of_self(node: ast.AST) -> TypeGuard[ast.Attribute]:
    """Whether a node is `self.something`."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
