"""Jinja2 in a cage: reads no file, changes nothing, never ends later than its budget.

Every loop turn, call, filter and string operation costs steps, counted in the text it makes; so a
template that would run for ever, or fill the memory, ends in ``TooMuch`` at the same place on every
machine. A deadline stands behind that for whatever costs more time than steps.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

from jinja2 import BaseLoader, ChainableUndefined, StrictUndefined, TemplateNotFound, nodes
from jinja2.environment import Template
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

LARGEST = 10 * 1024 * 1024
SOURCE = 1024 * 1024
"""Characters a template may have: compiling costs time that no budget counts."""
STEPS = 1_000_000
SECONDS = 20.0
_RANGE = 100_000
_WIDTH = 10_000
_FORBIDDEN = {
    "random",
    "pprint",
    "urlize",
    "xmlattr",
    "attr",
    "safe",
    "forceescape",
    "escape",
    "e",
    "filesizeformat",
}
_WIDE = {"center", "indent", "wordwrap", "batch", "slice", "truncate"}
_WIDE_METHODS = {"ljust", "rjust", "center", "zfill", "expandtabs"}
_BIG_NUMBER = re.compile(r"\d{5,}|\*|\{[^{}]*\{")


class TooMuch(SecurityError):
    """The budget of a template is spent, or it makes something too large."""


class MissingValue(UndefinedError):
    """A template used ``name``, which is not there."""

    def __init__(self, message: str | None, name: str) -> None:
        super().__init__(message)
        self.name = name


class Budget(threading.local):
    """What the template that renders in this thread may still use."""

    left = 0
    until = 0.0
    missing: list[tuple[str, str, int]] | None = None
    """When a list: missing values are noted here (name, file, line) instead of stopping the template."""

    def begin(self) -> None:
        self.left = STEPS
        self.until = time.monotonic() + SECONDS

    def spend(self, steps: int) -> None:
        """Raises TooMuch when nothing is left."""
        self.left -= steps
        if self.left < 0 or time.monotonic() > self.until:
            raise TooMuch("it takes too many steps or too long")


BUDGET = Budget()


class Missing(StrictUndefined):
    """Any use of it is a MissingValue that knows the name."""

    def __init__(self, hint: str | None = None, obj: Any = None, name: Any = None, exc: Any = UndefinedError):
        if exc is UndefinedError:
            super().__init__(hint, obj, name, lambda message: MissingValue(message, str(name)))  # type: ignore[arg-type]
        else:
            super().__init__(hint, obj, name, exc)


class Noted(ChainableUndefined):
    """A missing value that is noted where it is used, and then counts as empty."""

    def _note(self) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            template = frame.f_globals.get("__jinja_template__")
            if isinstance(template, Template) and BUDGET.missing is not None:
                line = template.get_corresponding_lineno(frame.f_lineno)
                BUDGET.missing.append((str(self._undefined_name), str(template.filename), line))
                return
            frame = frame.f_back

    def __str__(self) -> str:
        self._note()
        return ""

    def __iter__(self) -> Iterator[Any]:
        self._note()
        return iter(())

    def __bool__(self) -> bool:
        self._note()
        return False

    def __len__(self) -> int:
        self._note()
        return 0

    def __eq__(self, other: object) -> bool:
        self._note()
        return False

    __hash__ = ChainableUndefined.__hash__


def _undefined(hint: str | None = None, obj: Any = None, name: Any = None, exc: Any = UndefinedError) -> Any:
    if BUDGET.missing is not None and exc is UndefinedError:
        return Noted(hint, obj, name, exc)
    return Missing(hint, obj, name, exc)


def size(value: Any) -> int:
    """Characters in a value, as its text would show them; a node counts as 64 (it costs as much).

    Raises TooMuch above the limit.
    """
    total = 0
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, (str, bytes)):
            total += len(one)
        elif isinstance(one, Mapping):
            total += len(one) << 6
            stack.extend(one.keys())
            stack.extend(one.values())
        elif isinstance(one, (list, tuple, set, frozenset)):
            total += len(one) << 6
            if total > LARGEST:
                break
            stack.extend(one)
        elif isinstance(one, int):
            total += one.bit_length() // 3
        if total > LARGEST:
            break
    if total > LARGEST:
        raise TooMuch("it makes something larger than 10 MiB")
    return total


def _pay(value: Any) -> Any:
    """Charge for a value a template has made, and hand it on."""
    BUDGET.spend(1 + (size(value) >> 6))
    return value


def _each(value: Iterable[Any]) -> Iterator[Any]:
    for item in value:
        BUDGET.spend(1)
        yield item


def _compared(value: Any) -> Any:
    """Charge for a look through a value, as ``in`` and ``==`` do."""
    if isinstance(value, (list, tuple)):
        BUDGET.spend(len(value) >> 2)
    elif isinstance(value, str):
        BUDGET.spend(len(value) >> 10)
    return value


def _joined(parts: Iterable[Any]) -> str:
    """What ``~`` does, with the size known before the text is made."""
    texts = [part if isinstance(part, str) else str(_pay(part)) for part in parts]
    _pay(texts)
    return "".join(texts)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _RANGE:
        raise TooMuch(f"range() gives more than {_RANGE} numbers")
    return numbers


def _json(value: Any, indent: int | None = None) -> str:
    """JSON as it is, not escaped for HTML; keys sorted so that the same values give the same text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=indent)


def _check_wide(name: str, value: Any, arguments: Iterable[Any]) -> None:
    for argument in arguments:
        width = len(argument) if isinstance(argument, str) else argument
        if isinstance(width, int) and width > _WIDTH:
            raise TooMuch(f"{name} with a width of {width}")
        if name == "indent" and isinstance(width, int) and isinstance(value, str):
            BUDGET.spend(width * (value.count("\n") + 1) >> 6)


def _check_text(name: str, text: str, arguments: tuple[Any, ...]) -> None:
    """Refuse a string operation whose result could be far larger than what goes into it."""
    if name in ("replace", "join"):
        BUDGET.spend(size(arguments) >> 6)
        if name == "replace" and len(arguments) >= 2:
            old, new = str(arguments[0]), str(arguments[1])
            made = len(text) + (text.count(old) if old else len(text) + 1) * len(new)
        elif name == "join" and isinstance(arguments[0], (list, tuple)):
            made = len(text) * len(arguments[0])
        else:
            made = 0
        if made > LARGEST:
            raise TooMuch(f"{name} makes something larger than 10 MiB")
    elif name in ("format", "format_map") and _BIG_NUMBER.search(text):
        raise TooMuch("a format with a very large or a computed width")
    elif name in _WIDE_METHODS:
        _check_wide(name, text, arguments)


def _charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    skip = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def filter_(*args: Any, **kwargs: Any) -> Any:
        value, rest = args[skip], (*args[skip + 1 :], *kwargs.values())
        BUDGET.spend(1 + (size((value, rest)) >> 6))
        if name in _WIDE:
            _check_wide(name, value, rest)
        elif name == "join" and isinstance(value, (list, tuple)):
            _check_text(name, str(rest[0]) if rest else "", (value,))
        elif name in ("replace", "format") and not isinstance(value, Missing):
            _check_text(name, str(value), rest)
        return _pay(function(*args, **kwargs))

    return filter_


class _Caged(NodeTransformer):
    """Puts the counters into a template's own loops and concatenations."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - jinja2's own naming
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_each", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Operand(self, node: nodes.Operand) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = nodes.Filter(node.expr, "_compared", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, "_joined", [], [], None, None, lineno=node.lineno)


class _Partials(BaseLoader):
    """Hands out templates of the same service, from the tree that is already in memory."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources

    def get_source(self, environment: Any, template: str) -> tuple[str, str, Callable[[], bool]]:
        if template not in self.sources:
            raise TemplateNotFound(template)
        if len(self.sources[template]) > SOURCE:
            raise TooMuch(f"'{template}' is larger than 1 MiB")
        return self.sources[template], template, lambda: True


def _concat(parts: Iterable[str]) -> str:
    """What Jinja joins macros and captured blocks with."""
    texts = list(parts)
    _pay(texts)
    return "".join(texts)


class Cage(ImmutableSandboxedEnvironment):
    """The environment all templates of an estate are compiled in; ``sources`` are those to include."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])
    concat = staticmethod(_concat)

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__(
            undefined=Missing,
            loader=_Partials(sources),
            autoescape=False,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=-1,
            auto_reload=False,
            finalize=_shown,
        )
        for name in ("lipsum",):
            self.globals.pop(name, None)
        self.globals["range"] = _range
        filters = {n: _charged(n, f) for n, f in self.filters.items() if n not in _FORBIDDEN}
        filters["tojson"] = _charged("tojson", _json)
        self.undefined = _undefined  # type: ignore[assignment]
        self.filters = {**filters, "_each": _each, "_joined": _joined, "_compared": _compared}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Caged().visit(super()._parse(source, name, filename))  # type: ignore[no-any-return]

    def join_path(self, template: str, parent: str) -> str:
        """Names in ``include`` are relative to the templates folder of the same service."""
        folder, inside, _ = parent.partition("/templates/")
        if not inside or template.startswith("/") or ".." in template.split("/"):
            raise SecurityError(f"'{template}' is outside the templates folder of the service")
        return f"{folder}/templates/{template}"

    def get_template(self, name: Any, parent: str | None = None, globals: Any = None) -> Template:
        BUDGET.spend(1)
        return super().get_template(name, parent, globals)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of a mapping comes before a method of the same name (``values.items``)."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            if abs(right) > 64 or (isinstance(left, int) and left.bit_length() > 64):
                raise TooMuch("a power of a large number")
        elif operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, (str, list, tuple)) and isinstance(other, int):
                    if size(one) * max(other, 0) > LARGEST or len(one) * max(other, 0) > LARGEST:
                        raise TooMuch("it makes something larger than 10 MiB")
                elif isinstance(one, int) and one.bit_length() > 4096:
                    raise TooMuch("a very large number")
        elif operator == "%" and isinstance(left, str):
            _check_text("format", left, ())
        elif operator == "+" and isinstance(left, (str, list, tuple)):
            BUDGET.spend((size(left) + size(right)) >> 6)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        BUDGET.spend(1)
        text = getattr(__obj, "__self__", None)
        if isinstance(text, str):
            _check_text(__obj.__name__, text, (*args, *kwargs.values()))
        elif hasattr(__obj, "__wrapped__") and getattr(__obj, "__name__", "") in ("format", "format_map"):
            # jinja2 wraps str.format itself; the text is behind the wrapper.
            _check_text("format", __obj.__wrapped__.__self__, ())
        made = super().call(__context, __obj, *args, **kwargs)
        return _pay(made) if isinstance(made, (str, list, tuple)) else made


def _shown(value: Any) -> Any:
    """What ``{{ … }}`` prints; a collection is measured before Python makes text of it."""
    if isinstance(value, (list, tuple, dict)):
        BUDGET.spend(1 + (size(value) >> 6))
    return value
