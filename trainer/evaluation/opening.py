"""A data set by its name: scenes of an embedded world, or a file or folder of the user's."""

from pathlib import Path

from trainer.evaluation.dataset import DataSet
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.listing import read_listing
from trainer.evaluation.rendered import LISTING, Rendering, render


def open_dataset(name: str, cache: Path, images: Path | None = None) -> DataSet:
    """The data set called `name`.

    WORLD:SPLIT[:COUNT[:SEED]] is rendered into the folder `cache`. A .jsonl file is a list of images and objects, and
    so is a folder with an `images.jsonl`. Paths of images are relative to `images` where it is given, else to where
    the file is. Raises UnreadableDataSet where there is no such data set or it is not of its form.
    """
    if (wanted := Rendering.of(name)) is not None:
        return render(wanted, cache, name)
    path = Path(name).expanduser()
    if path.is_file():
        return read_listing(path, name, images)
    if (path / LISTING).is_file():
        return read_listing(path / LISTING, name, images)
    raise UnreadableDataSet(f"There is no data set {name}.")
