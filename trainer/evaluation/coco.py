"""COCO as a data set: a folder with the user's `instances_*.json`, `captions_*.json` and images.

The objects of an image are the categories of its instances united with the objects that its reference captions mention,
as CHAIR has it (Rohrbach et al., 2018). The words for COCO's 80 categories are in `coco_synonyms.json`; they are this
project's own, after CHAIR's rules, so figures are near those of CHAIR's own table but not the same.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from trainer.evaluation.dataset import DataSet, Example
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.listing import VOCABULARY_FILE
from trainer.evaluation.vocabulary import ObjectVocabulary, read_vocabulary

_INSTANCES, _CAPTIONS = "instances_", "captions_"


def coco_vocabulary() -> ObjectVocabulary:
    """The words for COCO's 80 categories."""
    return read_vocabulary(Path(str(files("trainer.evaluation"))) / "coco_synonyms.json")


@dataclass(frozen=True)
class Annotations:
    """The two files of one split, such as val2014, and the folder they are in."""

    folder: Path
    split: str

    @property
    def instances(self) -> Path:
        return self.folder / f"{_INSTANCES}{self.split}.json"

    @property
    def captions(self) -> Path:
        return self.folder / f"{_CAPTIONS}{self.split}.json"

    def image_folders(self) -> Iterable[Path]:
        """Where COCO's archives, unpacked side by side or into one folder, have the split's images."""
        root = self.folder.parent if self.folder.name == "annotations" else self.folder
        return (root / self.split, root, root / "images" / self.split, root / "images")


def find_annotations(path: Path) -> Annotations | None:
    """The annotations in a folder, in its folder `annotations`, or of one instances file; None where there are none.

    Raises UnreadableDataSet where a folder has those of several splits.
    """
    if path.is_file():
        is_one = path.name.startswith(_INSTANCES) and path.suffix == ".json"
        return Annotations(path.parent, path.stem.removeprefix(_INSTANCES)) if is_one else None
    found = sorted(path.glob(f"{_INSTANCES}*.json")) or sorted((path / "annotations").glob(f"{_INSTANCES}*.json"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise UnreadableDataSet(f"{path} has the annotations of several splits ({names}); name one of these files.")
    return find_annotations(found[0]) if found else None


def read_coco(annotations: Annotations, name: str, images: Path | None = None) -> DataSet:
    """The data set of a split; an image's file name is its id.

    Images are in `images`, or where COCO's archives put them. The words are those of `objects.json` beside the
    annotations, where there is one, else this project's; a category that these do not have is known by its name only.
    Raises UnreadableDataSet where a file is missing or not of COCO's form.
    """
    instances, captions = _read(annotations.instances), _read(annotations.captions)
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in instances["categories"]}
        objects: defaultdict[int, set[str]] = defaultdict(set)
        for entry in instances["annotations"]:
            objects[entry["image_id"]].add(categories[entry["category_id"]])
        vocabulary = _vocabulary(annotations, categories.values())
        for entry in captions["annotations"]:
            objects[entry["image_id"]].update(vocabulary.mentions(entry["caption"]))
        named = [(entry["id"], str(entry["file_name"])) for entry in instances["images"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableDataSet(
            f"{annotations.instances} and its captions are not of COCO's form: {error!r}."
        ) from error
    folders = [images] if images is not None else list(annotations.image_folders())
    folder = next((one for one in folders if named and (one / named[0][1]).is_file()), folders[0])
    examples = tuple(Example(folder / file, frozenset(objects[number]), file) for number, file in named)
    return DataSet(name, examples, vocabulary)


def _vocabulary(annotations: Annotations, categories: Iterable[str]) -> ObjectVocabulary:
    own = annotations.folder / VOCABULARY_FILE
    if own.is_file():
        return read_vocabulary(own)
    known = coco_vocabulary().phrases
    return ObjectVocabulary(dict(known) | {name: () for name in categories if name not in known})


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableDataSet(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UnreadableDataSet(f"{file} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise UnreadableDataSet(f"{file} is not of COCO's form: a JSON object is wanted.")
    return found
