"""The shape of the project, read from its sources: which way imports go, how long files are, what loads when."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "features": {"features"},
    "mee": {"mee"},
    "index": {"index", "mee"},
    "scripts": {"scripts", "features", "mee", "index"},
}
OURS = {*MAY_IMPORT, "tests"}
HEAVY = ("torch", "transformers", "accelerate", "pandas", "cv2", "av", "decord", "faiss", "skimage", "pyarrow")
HEAVY += ("matplotlib", "h5py")
SOURCES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
ALL = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]


def imported(path):
    """Full names of the modules that a file imports, wherever in it, with its line numbers."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}:{node.lineno}: a relative import; inside the project a name has one path"
            )
            yield node.module, node.lineno


def test_there_are_sources_to_look_at():
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(MAY_IMPORT)


def test_imports_go_one_way_only():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in SOURCES
        for name, line in imported(path)
        if (top := name.partition(".")[0]) in OURS and top not in MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    ]
    assert wrong == []


def test_names_given_as_text_go_the_same_way():
    """Modules that load on first use, and tables such as registries, are named in strings."""
    wrong = []
    for path in SOURCES:
        package = path.relative_to(ROOT).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                top, dot, rest = node.value.partition(".")
                is_module = dot and rest.partition(":")[0].replace(".", "").replace("_", "").isalpha()
                if (
                    is_module
                    and top in OURS - MAY_IMPORT[package]
                    and (ROOT / top / f"{rest.partition('.')[0]}.py").exists()
                ):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} names {node.value}")
    assert wrong == []


def test_only_the_scanners_import_faiss():
    users = {
        path.relative_to(ROOT).parent.as_posix()
        for path in SOURCES
        for name, _ in imported(path)
        if name == "faiss"
    }
    assert users == {"index/scanners"}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_longer_than_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_files_are_named_after_what_they_hold():
    assert [path for path in ALL if path.stem in ("utils", "util", "helpers", "common", "misc")] == []


def test_the_tests_are_no_package_and_mirror_the_packages():
    tests = ROOT / "tests"
    assert list(tests.rglob("__init__.py")) == []
    for folder in (tests / "mee", tests / "index"):
        tested = {path.stem.removeprefix("test_") for path in folder.glob("test_*.py")}
        assert tested <= {path.stem for path in (ROOT / folder.name).glob("*.py")}


@pytest.mark.parametrize("module", ["mee", "features", "index", "scripts.cli", "mee.config"])
def test_importing_costs_nothing(module):
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", ["mee", "features", "index"])
def test_public_names_load_on_first_use(package):
    code = (
        f"import {package}; [getattr({package}, name) for name in {package}.__all__]\n"
        f"try: {package}.nonsense\nexcept AttributeError: print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "ok\n"
