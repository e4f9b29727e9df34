"""What goes to the builder: all that the package is made of, nothing else, nothing large and nothing secret."""

from pathlib import Path

import pytest

from tools.images import context
from tools.images.dockerfile import ROOT

MOST_MB = 30
ROOMS = {"judgefree", "pairs", "service", "workers", "trainer", "demo", "loadtests"}
BESIDE = {"pyproject.toml", "README.md", "LICENSE", "requirements.lock"}


def test_it_is_the_package_and_what_names_its_requirements() -> None:
    assert {path.parts[0] for path in context.files()} == ROOMS | BESIDE


def test_it_is_small() -> None:
    assert sum((ROOT / path).stat().st_size for path in context.files()) < MOST_MB * 10**6


def test_what_changes_by_itself_does_not_make_it_new() -> None:
    assert not any(path.suffix == ".pyc" or "Dockerfile" in path.name for path in context.files())


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "judgefree.toml",
        "judgefree-data/pairs.db",
        "tests/conftest.py",
        "benchmarks/results/end_to_end.json",
        "service/__pycache__/app.pyc",
        "service/page/__pycache__/x",
        "id_rsa",
    ],
)
def test_it_leaves_out(tmp_path: Path, path: str) -> None:
    (tmp_path / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
    for name in (path, "service/app.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(context.files(tmp_path)) == [Path("service/app.py")]


@pytest.mark.parametrize(
    ("rules", "let_through"),
    [
        (["*", "!a"], ["a/b.py", "a/c/d.pyc"]),
        (["*", "!a", "**/*.pyc"], ["a/b.py"]),
        (["*", "!a", "a/c"], ["a/b.py"]),
        (["*", "!a", "a/*", "!a/c/d.*"], ["a/c/d.pyc"]),
        (["*", "!a", "a/?.py"], ["a/c/d.pyc"]),
    ],
)
def test_the_last_pattern_that_matches_decides(tmp_path: Path, rules: list[str], let_through: list[str]) -> None:
    (tmp_path / ".dockerignore").write_text("\n".join(rules))
    for name in ("a/b.py", "a/c/d.pyc", "e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path) for path in context.files(tmp_path)] == let_through
