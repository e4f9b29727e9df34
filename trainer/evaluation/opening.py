"""A data set by its name: scenes of an embedded world, or a file or folder of the user's."""

from pathlib import Path

from trainer.evaluation.captioning import Captioning
from trainer.evaluation.coco import find_annotations, read_coco
from trainer.evaluation.dataset import DataSet
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.listing import read_listing
from trainer.evaluation.polling import FIELDS, read_poll
from trainer.evaluation.rendered import LISTING, Rendering, render
from trainer.evaluation.rows import read_rows
from trainer.evaluation.task import Task


def open_dataset(name: str, cache: Path, images: Path | None = None) -> DataSet:
    """The data set called `name`.

    WORLD:SPLIT[:COUNT[:SEED]] is rendered into the folder `cache`. A folder with COCO's annotations, or the instances
    file of one split, is read as COCO; a .jsonl file, or a folder with an `images.jsonl`, as a list of images and
    objects. Paths of images are relative to `images` where it is given, else to where the file is. Raises
    UnreadableDataSet where there is no such data set or it is not of its form.
    """
    if (wanted := Rendering.of(name)) is not None:
        return render(wanted, cache, name)
    path = Path(name).expanduser()
    if not path.exists():
        raise UnreadableDataSet(f"There is no data set {name}: it is no file, no folder and no demo:SPLIT.")
    if (annotations := find_annotations(path)) is not None:
        return read_coco(annotations, name, images)
    listing = path / LISTING if path.is_dir() else path
    if not listing.is_file():
        raise UnreadableDataSet(f"{name} is no data set: it has neither {LISTING} nor COCO's instances_*.json.")
    return read_listing(listing, name, images)


def open_task(name: str, cache: Path, images: Path | None = None) -> Task:
    """The task that a data set is for: yes/no questions where it is a file in POPE's format, else captions."""
    path = Path(name).expanduser()
    if path.suffix in (".jsonl", ".json") and path.is_file() and find_annotations(path) is None:
        _, first = next(read_rows(path), ("", {}))
        if first.keys() >= FIELDS:
            return read_poll(path, name, images)
    return Captioning(open_dataset(name, cache, images))
