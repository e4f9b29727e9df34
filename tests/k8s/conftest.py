"""Every overlay, those that docs/deployment.md has its reader write, and every combination of components that it
allows, rendered once a test run.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.k8s.documented import YOURS, overlays
from tests.k8s.rendering import K8S, Render, render

OVERLAYS = ("kind-cpu", "gpu", "gpu-large")
"""Those of the repository: whoever deploys has one of their own beside them, as the page says."""
_ADDED = ("ingress-tls", "keda", "monitoring", "loadtest")


Combination = tuple[str, tuple[str, ...]]
"""What is stood on, and the components that are added."""


def combinations() -> dict[str, Combination]:
    """Each combination by its name: any two choices of machine, database and image store are together in one."""
    chosen = [
        ("cpu", "postgres", "s3"),
        ("cpu", "postgres-single", "images-volume"),
        ("gpu", "postgres", "images-volume"),
        ("gpu", "postgres-single", "s3"),
    ]
    found: dict[str, Combination] = {
        f"base + {' + '.join(needed)}": ("base", (*needed, "release")) for needed in chosen
    }
    found["kind-cpu + all that can be added"] = ("overlays/kind-cpu", (*_ADDED, "release"))
    found["gpu + multi-gpu-trainer"] = ("overlays/gpu", ("multi-gpu-trainer", "release"))
    return found


NAMES = (*OVERLAYS, *YOURS, *combinations())

Rendered = Callable[[str], Render]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The render of an overlay or a combination, by its name."""
    copied = tmp_path_factory.mktemp("k8s") / "k8s"
    copy_shipped(K8S, copied)
    folders = {overlay: copied / "overlays" / overlay for overlay in (*OVERLAYS, *YOURS)}
    for name, text in overlays().items():
        folders[name].mkdir()
        (folders[name] / "kustomization.yaml").write_text(text)
    for number, (name, (base, components)) in enumerate(combinations().items()):
        folders[name] = copied / "overlays" / f"combination-{number}"
        _write(folders[name], base, components)
    with ThreadPoolExecutor(2) as pool:
        made = dict(zip(folders, pool.map(lambda item: render(item[1], item[0]), folders.items()), strict=True))
    return made.__getitem__


@pytest.fixture(params=NAMES)
def each(request: pytest.FixtureRequest, rendered: Rendered) -> Render:
    """One after the other."""
    return rendered(request.param)


def copy_shipped(k8s: Path, to: Path) -> None:
    """Copy the folder `k8s` without overlays that are not the repository's."""

    def foreign(folder: str, names: list[str]) -> set[str]:
        return set(names) - set(OVERLAYS) if Path(folder) == k8s / "overlays" else set()

    shutil.copytree(k8s, to, ignore=foreign)


def _write(folder: Path, base: str, components: tuple[str, ...]) -> None:
    folder.mkdir()
    text = ""
    if "postgres-single" in components:
        shutil.copy(K8S / "overlays" / "kind-cpu" / "secrets.env", folder)
        text = "secretGenerator:\n  - {name: judgefree, envs: [secrets.env], options: {disableNameSuffixHash: true}}\n"
    listed = "".join(f"  - ../../components/{name}\n" for name in components)
    text += f"namespace: judgefree\nresources: [../../{base}]\ncomponents:\n{listed}"
    (folder / "kustomization.yaml").write_text(text)
