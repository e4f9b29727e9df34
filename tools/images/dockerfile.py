"""What a Dockerfile declares; pure, but for reading the file."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILES = (
    "service/Dockerfile",
    "workers/clip/Dockerfile",
    "workers/mllm/Dockerfile.cpu",
    "workers/mllm/Dockerfile.gpu",
    "trainer/Dockerfile",
    "loadtests/Dockerfile",
)


_NAMED = re.compile(r"([a-z][\w.+-]*)=")


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined: `keyword` in capitals, `text` the rest."""

    keyword: str
    text: str

    @property
    def words(self) -> list[str]:
        """Of an exec form. Raises ValueError for a shell form."""
        words: list[str] = json.loads(self.text)
        return words

    @property
    def pairs(self) -> dict[str, str]:
        """Of ENV or LABEL: value by name."""
        found = re.findall(r'([\w.]+)=(?:"([^"]*)"|(\S*))', self.text)
        return {name: quoted or bare for name, quoted, bare in found}


@dataclass(frozen=True)
class Image:
    """A Dockerfile by its path from the root: `stages` of instructions, each from its FROM on."""

    path: str
    stages: tuple[tuple[Instruction, ...], ...]
    defaults: dict[str, str]
    """The build arguments before the first FROM."""

    @property
    def final(self) -> tuple[Instruction, ...]:
        return self.stages[-1]

    def every(self, keyword: str) -> list[Instruction]:
        """The final stage's instructions of that keyword."""
        return [one for one in self.final if one.keyword == keyword]

    def one(self, keyword: str) -> Instruction:
        """The final stage's only one. Raises ValueError when there are more or none."""
        [found] = self.every(keyword)
        return found

    @property
    def base(self) -> str:
        """What the final stage is made from."""
        written = self.final[0].text
        named = re.fullmatch(r"\$\{(\w+)\}", written)
        return written if named is None else self.defaults[named[1]]

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for one in self.every("ENV") for name, value in one.pairs.items()}

    @property
    def labels(self) -> dict[str, str]:
        return {name: value for one in self.every("LABEL") for name, value in one.pairs.items()}

    @property
    def volumes(self) -> list[str]:
        return self.one("VOLUME").words

    @property
    def user(self) -> tuple[int, int]:
        """(uid, gid). Raises ValueError for a name."""
        uid, gid = self.one("USER").text.split(":")
        return int(uid), int(gid)

    @property
    def workdir(self) -> str:
        return self.one("WORKDIR").text

    @property
    def entrypoint(self) -> list[str]:
        return self.one("ENTRYPOINT").words

    @property
    def module(self) -> str:
        """What the entry point runs with -m."""
        return self.entrypoint[self.entrypoint.index("-m") + 1]

    @property
    def health_check(self) -> list[str] | None:
        """The command; None where the image says that it has none."""
        text: str = self.one("HEALTHCHECK").text
        return None if text == "NONE" else Instruction("CMD", text.split("CMD ", 1)[1]).words

    @property
    def system_packages(self) -> list[str]:
        """What the final stage installs of Debian's, by name."""
        runs = " ".join(one.text for one in self.every("RUN"))
        return [
            name for installed in re.findall(r"apt-get install ([^&]*)", runs) for name in _NAMED.findall(installed)
        ]

    @property
    def installs_torch(self) -> bool:
        return any(one.keyword == "ARG" and one.text.startswith("TORCH=") for one in self.stages[0])

    @property
    def requirements(self) -> str:
        """The path of the file that it installs from."""
        copied = " ".join(one.text for one in self.stages[0] if one.keyword in ("COPY", "RUN"))
        named = re.findall(r"\S+/requirements[.\w]*\.txt", copied)
        return str(named[0])


def read(path: str) -> Image:
    """The Dockerfile of that path from the root."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", "", "\n".join(lines)).splitlines()
    instructions = [Instruction(*line.split(maxsplit=1)) for line in whole if line.strip()]
    starts = [index for index, one in enumerate(instructions) if one.keyword == "FROM"]
    ends = [*starts[1:], len(instructions)]
    before = [one.text.partition("=") for one in instructions[: starts[0]] if one.keyword == "ARG"]
    stages = (tuple(instructions[start:end]) for start, end in zip(starts, ends, strict=True))
    return Image(path, tuple(stages), {name: value for name, _, value in before})
