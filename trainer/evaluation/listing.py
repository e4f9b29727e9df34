"""Any data set as a list: a JSON-lines file of images and objects, with a vocabulary beside it if there is one."""

from pathlib import Path

from trainer.evaluation.dataset import DataSet, Example
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.rows import Row, read_rows, text_of
from trainer.evaluation.vocabulary import ObjectVocabulary, read_vocabulary

VOCABULARY_FILE = "objects.json"


def read_listing(file: Path, name: str | None = None, images: Path | None = None) -> DataSet:
    """The data set whose rows are {"image": path, "objects": [names]}, an image's path being its id.

    Paths are relative to `images`, or to the folder of `file`. The vocabulary is `objects.json` in the folder of
    `file`, or, where there is none, the names of the rows. Raises UnreadableDataSet where something is missing or of
    another form; an image that is not there is said when it is wanted.
    """
    folder = images or file.parent
    examples = tuple(_example(where, row, folder) for where, row in read_rows(file))
    words = file.parent / VOCABULARY_FILE
    names = (name for example in examples for name in example.objects)
    vocabulary = read_vocabulary(words) if words.is_file() else ObjectVocabulary.of_names(names)
    return DataSet(name or str(file), examples, vocabulary)


def _example(where: str, row: Row, folder: Path) -> Example:
    image, objects = text_of(where, row, "image"), row.get("objects")
    if not isinstance(objects, list) or not all(isinstance(one, str) for one in objects):
        raise UnreadableDataSet(f'{where}: "objects" must be a list of names.')
    return Example(folder / image, frozenset(objects), image)
