import subprocess
import sys

import pytest

from tests.processes import ROOT

PURE = ["arrivals", "courses", "figures", "knee", "latency", "ledger", "pictures", "pixels", "profiles", "report"]


@pytest.mark.parametrize(
    ("modules", "unwanted"), [(PURE, ["locust", "gevent", "torch"]), (["__main__"], ["torch", "vllm", "service"])]
)
def test_what_decides_knows_no_locust_and_nothing_knows_torch(modules: list[str], unwanted: list[str]) -> None:
    """Importing locust patches the process that does it, this one for instance."""
    imports = ", ".join(f"loadtests.{module}" for module in modules)
    code = f"import sys, {imports}; sys.exit(' '.join(set({unwanted}) & sys.modules.keys()) or 0)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.strip()) == (0, ""), ran.stderr
