"""The shape of the package: which way imports go, who may import what, what must be documented."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import whereupon
from whereupon import errors
from whereupon.cli.explain import all_errors

SOURCE = Path(whereupon.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

LAYERS = [
    *("naming", "errors", "schemas", "violations", "annotations", "payloads", "contracts", "events", "codec"),
    *("envelopes", "failures", "outcomes", "subscribers", "subscriptions", "deliveries", "ledger_protocol"),
    *("engine_protocol",),
    *(
        "routing",
        "handoff",
        "store",
        "publishing",
        "handling",
        "ledger",
        "__init__",
        "loading",
        "relay",
        "engines",
        "catalog",
    ),
    *("testing", "cli", "contrib", "__main__"),
]
"""From the ground up: a module imports only from its own layer or from those before it."""

STDLIB = sys.stdlib_module_names | {"annotationlib"}  # new in 3.14
PLACES = {
    "msgspec": {"annotations", "contracts", "payloads", "codec", "__init__"},
    "jsonschema_rs": {"payloads", "violations"},
    "click": {"cli"},
    "asgiref": {"contrib", "engines"},  # which is Django's, and Procrastinate's
    "kombu": {"engines"},  # which is Celery's, as the next two are
    "billiard": {"engines"},
    "amqp": {"engines"},
    "pika": {"engines"},  # which is Dramatiq's
    "redis": {"engines"},
    "django_tasks_db": {"engines"},  # which is of Django Tasks
}
"""Where a third-party library may be imported, besides a file that bears its name."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def layer_of(module: str) -> str:
    return module.partition(".")[0]


def imports_of(path: Path) -> set[str]:
    """Return what a file imports when it runs, local imports included; annotations do not count."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_one_way(path):
    own = layer_of(module_of(path))
    for name in imports_of(path):
        if name == "whereupon" or not name.startswith("whereupon."):
            continue
        other = name.split(".")[1]
        assert LAYERS.index(other) <= LAYERS.index(own), f"{own} imports {name}, which is above it"


def test_every_module_has_a_layer():
    assert {layer_of(module_of(path)) for path in FILES} == set(LAYERS)


def test_there_is_no_cycle():
    graph = {f"whereupon.{module_of(path)}": imports_of(path) for path in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"cycle: {' -> '.join((*trail, module))}"
        if module not in done:
            for name in graph.get(module, ()):
                visit(name, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_third_party_libraries_are_imported_only_where_they_belong(path):
    module = module_of(path)
    for name in {each.split(".")[0] for each in imports_of(path)} - {"whereupon"} - STDLIB:
        allowed = layer_of(module) in PLACES.get(name, ()) or any(name in part for part in module.split("."))
        assert allowed, f"{module} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    assert path.stem not in {"utils", "helpers", "common", "base", "misc"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 40, f"{module_of(path)}.{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_everything_public_is_documented_and_annotated(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    public = [
        node
        for parent in ast.walk(tree)
        if isinstance(parent, ast.Module | ast.ClassDef)
        for node in parent.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not getattr(parent, "name", "").startswith("_")
        and not any(ast.unparse(each) == "overload" for each in node.decorator_list)
    ]
    for node in public:
        assert ast.get_docstring(node), f"{module_of(path)}.{node.name} has no docstring"
        if not isinstance(node, ast.ClassDef):
            assert node.returns is not None, f"{module_of(path)}.{node.name} has no return annotation"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_that_is_stored_can_become_code(path):
    """Find no pickle, eval, exec, nor an import of a name that comes from data."""
    forbidden = {"pickle", "marshal", "shelve", "dill", "yaml"}
    assert not forbidden & {each.split(".")[0] for each in imports_of(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "compile", "__import__"}
        if isinstance(node, ast.Attribute) and node.attr == "import_module":
            assert module_of(path) in {"loading", "subscriptions"}


def test_the_public_names_are_these():
    assert set(whereupon.__all__) == {
        *("IGNORED", "Envelope", "Event", "EventStore", "Failed", "Meta", "Park", "RetryIn", "SQLiteLedger"),
        *("SchemaEvent", "WhereuponError", "apublish", "apublish_many", "contract_of", "overlays"),
        *("payload_of", "publish", "publish_many", "subscribe", "subscriber"),
    }
    for name in whereupon.__all__:
        thing = getattr(whereupon, name)
        assert inspect.getdoc(thing if callable(thing) else type(thing)), f"{name} has no docstring"


def test_every_error_has_a_code_of_its_own_a_docstring_and_a_place_in_the_tree():
    codes = [each.code for each in all_errors()]
    assert len(set(codes)) == len(codes)
    for error in all_errors():
        assert error.__doc__
        assert error.__module__ == "whereupon.errors"
        assert re.search(rf"{error.__name__}\s+{error.code}\b", errors.__doc__ or ""), error.__name__


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_package_loads_nothing_that_was_not_asked_for():
    code = "import sys, whereupon; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    asked = ("asyncio", "importlib.metadata", "click", "django", "rich", "pytest", "concurrent.futures")
    for name in (*asked, "whereupon.cli", "whereupon.engines", "whereupon.testing", "whereupon.handling"):
        assert name not in loaded, name


def test_importing_the_pytest_plugin_loads_nothing_of_the_package():
    code = "import sys, pytest_whereupon; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [name for name in loaded if name.split(".")[0] in {"whereupon", "msgspec", "jsonschema_rs"}]
