"""The shape of the project, read from its sources: which way imports go, how large it is, what loads when."""

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "features": {"features"},
    "mee": {"mee"},
    "index": {"index", "mee"},
    "scripts": {"scripts", "features", "mee", "index"},
}
# Inside a package: which sub-packages a sub-package imports. The package's own name is its top level.
ARROWS: dict[str, dict[str, str]] = {
    "features": {
        "features": "job media",
        "cluster": "extractors features job media store",
        "external": "extractors features media store",
        "extractors": "extractors.pretrained features media",
        "extractors.builtin": "extractors features media",
        "extractors.pretrained": "extractors extractors.token_merging features media",
        "extractors.token_merging": "extractors",
        "job": "extractors features media store",
        "media": "features",
        "playback": "features job media",
        "store": "extractors features media",
    },
    "mee": {
        "mee": "data layers text",
        "data": "mee",
        "evaluation": "data external_scores mee protocols ranking text",
        "external_scores": "data mee protocols ranking",
        "layers": "mee",
        "near_duplicates": "data mee protocols",
        "protocols": "data mee",
        "ranking": "layers mee",
        "text": "layers mee",
        "training": "data evaluation layers mee protocols text",
    },
    "index": {
        "index": "exact postgres request scanners storage",
        "exact": "index scanners",
        "on_ray": "exact index request scanners storage",
        "postgres": "scanners storage",
        "request": "exact index scanners storage",
        "storage": "scanners",
    },
    "scripts": {
        "scripts": "example report",
        "demo": "scripts serve",
        "example": "scripts",
        "open": "scripts serve",
        "report": "scripts",
        "serve": "example scripts",
    },
}
PRODUCT_LINES, PRODUCT_FILES, TEST_LINES, BENCHMARK_LINES = 47_300, 286, 46_100, 7_100
FILE_LINES, FOLDER_MODULES = 400, 16
REACHED = {"search": 73, "evaluate": 73, "precompute": 68}  # files, at most
HEAVY = ("torch", "transformers", "accelerate", "pandas", "cv2", "av", "decord", "faiss", "skimage", "pyarrow")
HEAVY += ("matplotlib", "h5py", "jinja2", "scipy")
SOURCES = sorted(path.relative_to(ROOT) for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
TESTS, BENCHMARKS = (
    sorted(path.relative_to(ROOT) for path in (ROOT / name).rglob("*.py")) for name in ("tests", "benchmarks")
)


def lines(path):
    return len((ROOT / path).read_text().splitlines())


def module(path):
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def sub_package(path):
    """features/extractors/builtin/audio.py -> ("features", "extractors.builtin")."""
    return path.parts[0], ".".join(path.parts[1:-1]) or path.parts[0]


FILE_OF = {module(path): path for path in SOURCES}


@cache
def home(package, name):
    """The file in which a face's name is defined, by the stub beside its __init__.py."""
    stub = ROOT / FILE_OF[package].with_suffix(".pyi")
    for node in ast.parse(stub.read_text()).body if stub.exists() else ():
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return f"{package}.{node.module}"
    return package


def without_types(tree):
    """A file's nodes but for what is imported for annotations alone."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from without_types(node)


@cache
def imported(path, nodes=ast.walk):
    """Every import of ours in a file, wherever in it: (line, as written, module in which the name is defined)."""
    found = []
    for node in nodes(ast.parse((ROOT / path).read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; a name has one path"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                target = full if full in FILE_OF else node.module
                if FILE_OF.get(target, Path()).stem == "__init__":
                    target = home(target, alias.name)
                found.append((node.lineno, full if full in FILE_OF else node.module, target))
    return tuple(found)


def test_imports_between_packages_go_one_way():
    wrong = [
        f"{path}:{line} imports {target}"
        for path in SOURCES
        for line, _, target in imported(path)
        if (top := target.partition(".")[0]) in {*MAY_IMPORT, "tests"} and top not in MAY_IMPORT[path.parts[0]]
    ]
    assert wrong == []


@cache
def named(path):
    """Modules that a file names in strings: tables such as registries, which load on first use."""
    constants = (
        node.value for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Constant)
    )
    names = {value.partition(":")[0] for value in constants if isinstance(value, str)}
    return {name for name in names if name in FILE_OF and "." in name}


def test_names_given_as_text_go_the_same_way():
    wrong = [
        f"{path} names {name}"
        for path in SOURCES
        for name in named(path)
        if name.partition(".")[0] not in MAY_IMPORT[path.parts[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_sub_packages_import_what_the_table_says(package):
    arrows = {}
    for path in SOURCES:
        top, mine = sub_package(path)
        for _, _, target in imported(path) if top == package else ():
            if target in FILE_OF and (theirs := sub_package(FILE_OF[target]))[0] == package and theirs[1] != mine:
                arrows.setdefault(mine, set()).add(theirs[1])
    assert {mine: " ".join(sorted(theirs)) for mine, theirs in arrows.items()} == ARROWS[package]


def test_no_circle_of_files():
    graph = {module(path): {t for _, _, t in imported(path) if t in FILE_OF} for path in SOURCES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_outside_a_sub_package_only_the_names_of_its_face_are_imported():
    wrong = []
    for path in SOURCES:
        for line, written, _ in imported(path):
            there = FILE_OF.get(written)
            if there is None or there.stem == "__init__" or len(there.parts) < 3:
                continue
            if not path.is_relative_to(there.parent):
                wrong.append(f"{path}:{line} imports from {written}, not from {written.rpartition('.')[0]}")
    assert wrong == []


def test_only_the_scanners_import_faiss():
    users = {path.parent.as_posix() for path in SOURCES for _, name, _ in imported(path) if name == "faiss"}
    assert users == {"index/scanners"}


@pytest.mark.parametrize("command", REACHED)
def test_a_command_reaches_few_files(command):
    """Counted by every import that can run and every module named in tables, as in a registry; -s prints them."""
    seen, pending = set(), {f"scripts.{command}"}
    while pending:
        name = pending.pop()
        seen.add(name)
        needed = {target for _, _, target in imported(FILE_OF[name], without_types)}
        pending |= (named(FILE_OF[name]) | needed) & set(FILE_OF) - seen
    reached = sorted(str(FILE_OF[name]) for name in seen if FILE_OF[name].stem != "__init__")
    print(f"mee {command}: {len(reached)} files", *reached, sep="\n  ")  # noqa: T201
    assert len(reached) <= REACHED[command]


def test_the_project_keeps_to_its_budgets():
    assert sum(map(lines, SOURCES)) <= PRODUCT_LINES
    assert len(SOURCES) <= PRODUCT_FILES
    assert sum(map(lines, TESTS)) <= TEST_LINES
    assert sum(map(lines, BENCHMARKS)) <= BENCHMARK_LINES
    assert [path for path in [*SOURCES, *TESTS, *BENCHMARKS] if lines(path) > FILE_LINES] == []
    folders = Counter(path.parent.as_posix() for path in [*SOURCES, *BENCHMARKS])
    assert {folder: count for folder, count in folders.items() if count > FOLDER_MODULES} == {}


def test_files_are_named_after_what_they_hold():
    everything = [*SOURCES, *TESTS, *BENCHMARKS]
    assert [path for path in everything if path.stem in ("utils", "util", "helpers", "common", "misc")] == []


def test_the_tests_are_no_package_and_mirror_the_packages():
    assert [path for path in TESTS if path.stem == "__init__"] == []
    folders = {path.parent.relative_to("tests") for path in TESTS} - {Path(), Path("golden")}
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


@pytest.mark.parametrize("name", ["mee", "features", "index", "scripts.cli", "mee.config", "mee.training.config"])
def test_importing_costs_nothing(name):
    code = f"import sys, {name}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_public_names_load_on_first_use():
    faces = [module(path) for path in SOURCES if (ROOT / path).with_suffix(".pyi").exists()]
    assert {"mee", "features", "index"} <= set(faces)
    code = (
        f"from importlib import import_module\n"
        f"for face in {faces!r}:\n"
        f"    package = import_module(face)\n"
        f"    for name in package.__all__: assert getattr(package, name) is not None, name\n"
        f"    try: package.nonsense\n"
        f"    except AttributeError: continue\n"
        f"    raise AssertionError(face)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
