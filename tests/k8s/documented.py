"""What docs/deployment.md tells a platform engineer: its commands, and the Secrets that they make."""

import re
import shlex

from tests.k8s.rendering import ROOT

PAGE = ROOT / "docs" / "deployment.md"


def commands() -> list[list[str]]:
    """Each command of the page's shell blocks, as words."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if shlex.split(line, comments=True)]


def secrets() -> dict[str, dict[str, str]]:
    """Of each Secret that the page has made by hand, its keys with what stands for their values."""
    found: dict[str, dict[str, str]] = {}
    for words in commands():
        if words[:2] == ["kubectl", "create"] and "secret" in words:
            name = words[words.index("secret") + 2]
            pairs = [word.partition("=")[2].partition("=") for word in words if word.startswith("--from-literal=")]
            found[name] = {key: value for key, _, value in pairs}
    return found
