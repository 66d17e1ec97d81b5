"""Templates and settings compiled once, rendered for each unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError, meta, nodes
from jinja2.environment import Template
from jinja2.exceptions import SecurityError

from lastgood.domain.message import N_
from lastgood.estate.problems import Invalid, invalid, nearest, problem
from lastgood.estate.sandbox import BUDGET, LARGEST, SOURCE, Cage, MissingValue, TooMuch
from lastgood.estate.yamlfile import Document, Path
from lastgood.ports.estate import Problem

VARIABLES = ("values", "environment", "site", "service", "estate", "platform", "region")
_MARKS = ("{{", "{%", "{#")
# What a template's own expressions can raise: Python's errors of computation, and Jinja's.
_COMPUTING = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
    MemoryError,
    RuntimeError,
    AssertionError,
)

Context = dict[str, Any]
Compiled = Callable[[Context], Any]


@dataclass(frozen=True)
class Templated:
    """A string setting that has to be rendered, and where it stands."""

    text: str
    file: str
    line: int

    def __repr__(self) -> str:
        return f"Templated({self.file}:{self.line})"


def prepare(value: Any, document: Document, file: str, path: Path = ()) -> Any:
    """Settings with each string that is a template wrapped, so that it keeps its place when merged."""
    if isinstance(value, str):
        if any(mark in value for mark in _MARKS):
            return Templated(value, file, document.line(path))
        return value
    if isinstance(value, dict):
        return {k: prepare(v, document, file, (*path, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [prepare(v, document, file, (*path, i)) for i, v in enumerate(value)]
    return value


def leaves(value: Any) -> list[Templated]:
    """Every template in prepared settings."""
    if isinstance(value, Templated):
        return [value]
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in leaves(v)]
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in leaves(v)]
    return []


@dataclass(frozen=True)
class Text:
    """A compiled template and where it stands; ``line`` 0 means that it is a file of its own.

    ``keys`` are the value keys it uses (as parts), ``names`` the other variables; ``whole``: it uses
    ``values`` as a whole, so any key.
    """

    template: Template
    file: str
    line: int
    keys: frozenset[tuple[str, ...]]
    names: frozenset[str]
    whole: bool

    def key(self, name: str) -> str:
        """The dotted key whose last part is ``name``, as far as it can be told."""
        found = sorted(".".join(k) for k in self.keys if k[-1] == name)
        return found[0] if found else name


class Renderer:
    """Compiles each text once and renders it with the variables of a unit.

    ``sources`` are the templates by their path in the estate, for ``include`` and ``import``.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.cage = Cage(sources)
        self._compiled: dict[tuple[str, str, int], Text] = {}

    def template(self, text: str, file: str, line: int = 0) -> Text:
        """Compile; ``line`` is where the text begins when it stands inside ``file``."""
        key = (text, file, line)
        found = self._compiled.get(key)
        if found is None:
            if len(text) > SOURCE:
                raise invalid(
                    file,
                    line,
                    N_("the template has {size} characters; it may have at most {largest}"),
                    N_("Remove '.j2' from its name to have it copied as it is, or split it."),
                    size=len(text),
                    largest=SOURCE,
                )
            BUDGET.begin()
            try:
                tree = self.cage.parse(text, file)
                self._check_names(tree, text, file, line)
                code = self.cage.compile(tree, file, file)
                template = Template.from_code(self.cage, code, self.cage.globals)
                found = Text(template, file, line, *_uses(tree))
            except TemplateSyntaxError as wrong:
                at = line or wrong.lineno
                raise invalid(
                    file, at, N_("this template can't be read: {words}"),
                    N_("Mend the expression; Jinja2's template documentation has the syntax."),
                    words=str(wrong.message)[:300],
                ) from wrong  # fmt: skip
            except (RecursionError, MemoryError) as deep:
                raise invalid(
                    file, line, N_("this template is nested too deeply"), N_("Make it flatter.")
                ) from deep
            self._compiled[key] = found
        return found

    def file(self, path: str, content: bytes) -> Text:
        """Compile a template that is a file of its own. Raises Invalid."""
        try:
            return self.template(content.decode(), path)
        except UnicodeDecodeError as broken:
            raise invalid(
                path, content.count(b"\n", 0, broken.start) + 1, N_("the template is not UTF-8"),
                N_("Save it as UTF-8, or remove '.j2' from its name to have it copied as it is."),
            ) from broken  # fmt: skip

    def _check_names(self, tree: nodes.Template, text: str, file: str, line: int) -> None:
        for name in sorted(meta.find_undeclared_variables(tree) - set(VARIABLES) - set(self.cage.globals)):
            used = next((n.lineno for n in tree.find_all(nodes.Name) if n.name == name), 1)
            at = line or used
            if name == "secrets":
                raise invalid(
                    file,
                    at,
                    N_("a template can't use secrets"),
                    N_(
                        "Read the secret in the service, from the environment variable of its name;"
                        " rendered files never hold secret values."
                    ),
                )
            near = nearest(name, VARIABLES)
            mend = N_("Did you mean '{near}'?") if near else N_("Templates know: {known}.")
            raise invalid(
                file,
                at,
                N_("templates have no variable '{name}'"),
                mend,
                name=name,
                near=near,
                known=", ".join(VARIABLES),
            )

    def text(self, text: Text, context: Context) -> str:
        """Render; raises Invalid with file and line."""
        BUDGET.begin()
        chunks: list[str] = []
        total = 0
        try:
            for chunk in text.template.root_render_func(text.template.new_context(context)):
                chunks.append(chunk)
                total += len(chunk)
                if total > LARGEST:
                    raise TooMuch("it makes more than 10 MiB")
        except _COMPUTING as wrong:
            raise _explained(wrong, text, context) from wrong
        return "".join(chunks)

    def faults(self, text: Text, context: Context) -> list[Problem]:
        """Everything wrong with a template in one unit: each missing value, and what else stops it."""
        noted: list[tuple[str, str, int]] = []
        stopped: list[Problem] = []
        BUDGET.missing = noted
        try:
            self.text(text, context)
        except Invalid as wrong:
            stopped.append(wrong.finding)
        finally:
            BUDGET.missing = None
        missing = [(text.key(name), file, text.line or line) for name, file, line in noted]
        # What fails where a value is missing fails because of that.
        own = [p for p in stopped if (p.path, p.line) not in {(file, line) for _, file, line in missing}]
        return [*(no_value(key, file, line, context) for key, file, line in missing), *own]

    def settings(self, prepared: Any) -> Compiled | None:
        """A function that renders prepared settings; None when nothing in them is a template."""
        if isinstance(prepared, Templated):
            text = self.template(prepared.text, prepared.file, prepared.line)
            return lambda context: self.text(text, context)
        if isinstance(prepared, dict):
            parts = {k: self.settings(v) for k, v in prepared.items()}
            moving = [(k, part) for k, part in parts.items() if part is not None]
            if not moving:
                return None

            def mapping(context: Context) -> dict[str, Any]:
                return {**prepared, **{k: part(context) for k, part in moving}}

            return mapping
        if isinstance(prepared, (list, tuple)):
            items = [self.settings(v) for v in prepared]
            if not any(items):
                return None

            def sequence(context: Context) -> list[Any]:
                return [v if i is None else i(context) for v, i in zip(prepared, items, strict=True)]

            return sequence
        return None


def _uses(tree: nodes.Template) -> tuple[frozenset[tuple[str, ...]], frozenset[str], bool]:
    """Which value keys and which other variables a template uses, and whether that can't be told."""
    keys: set[tuple[str, ...]] = set()
    names: set[str] = set()
    stack: list[nodes.Node] = [tree]
    while stack:
        node = stack.pop()
        chain = _chain(node)
        if chain is not None:
            keys.add(chain)
            continue
        if isinstance(node, nodes.Name):
            names.add(node.name)
        stack.extend(node.iter_child_nodes())
    return frozenset(keys - {()}), frozenset(names & set(VARIABLES)), () in keys


def _chain(node: nodes.Node) -> tuple[str, ...] | None:
    """The parts of ``values.a.b`` or ``values['a'].b``; None when a node is something else."""
    if isinstance(node, nodes.Name):
        return () if node.name == "values" else None
    if isinstance(node, nodes.Getattr):
        above = _chain(node.node)
        return None if above is None else (*above, node.attr)
    if (
        isinstance(node, nodes.Getitem)
        and isinstance(node.arg, nodes.Const)
        and isinstance(node.arg.value, str)
    ):
        above = _chain(node.node)
        return None if above is None else (*above, node.arg.value)
    return None


def _line_of(wrong: BaseException, template: Template) -> int:
    """The line of the template in which an exception began."""
    found = 0
    trace = wrong.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == template.filename:
            found = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return found


def no_value(key: str, file: str, line: int, context: Context) -> Problem:
    """A template misses a value in one unit."""
    return problem(
        file,
        line,
        N_("no value for '{key}' in {unit}"),
        N_("Set it in {layer} or in a layer above, or give a default in the template: | default(…)."),
        key=key,
        unit=_unit(context),
        layer=f"services/{context['service']}/values.yaml",
    )


def _unit(context: Context) -> str:
    return f"{context['service']}@{context['environment']}/{context['site']}"


def _explained(wrong: Exception, text: Text, context: Context) -> Invalid:
    file, at = text.file, text.line or _line_of(wrong, text.template)
    unit = _unit(context)
    if isinstance(wrong, MissingValue):
        return Invalid(no_value(text.key(wrong.name), file, at, context))
    if isinstance(wrong, (TooMuch, RecursionError, MemoryError)):
        return invalid(
            file,
            at,
            N_("the template was stopped: {words}"),
            N_("Make it smaller: a template may take {steps} steps and make 10 MiB."),
            words=str(wrong) or "it calls itself without end",
            steps="1,000,000",
            unit=unit,
        )
    if isinstance(wrong, TemplateNotFound):
        return invalid(
            file,
            at,
            N_("there is no template '{name}' to include"),
            N_(
                "Only files in the templates folder of the same service can be included; begin the name of"
                " a part with '_' so that it isn't rendered by itself."
            ),
            name=str(wrong.name),
        )
    if isinstance(wrong, SecurityError):
        return invalid(
            file,
            at,
            N_("the template does what is not allowed: {words}"),
            N_("Templates compute text from values and do nothing else."),
            words=str(wrong)[:300],
        )
    return invalid(
        file,
        at,
        N_("the template fails in {unit}: {words}"),
        N_("Mend the expression, or the value it works on."),
        words=f"{type(wrong).__name__}: {wrong}"[:300],
        unit=unit,
    )
