"""Data sets: lists, rendered scenes, COCO; each read from files of exactly its form, and refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.evaluation.dataset import DataSet
from trainer.evaluation.errors import UnreadableDataSet
from trainer.evaluation.opening import open_dataset, open_task


def write_rows(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_list_without_a_vocabulary_has_the_names_of_its_rows(tmp_path: Path) -> None:
    rows = [{"image": "a/1.png", "objects": ["red ring", "blue disc"]}, {"image": "2.png", "objects": []}]
    file = write_rows(tmp_path / "mine.jsonl", rows)

    dataset = open_dataset(str(file), tmp_path)

    assert [example.image for example in dataset] == [tmp_path / "a/1.png", tmp_path / "2.png"]
    assert [example.id for example in dataset] == ["a/1.png", "2.png"]
    assert [example.objects for example in dataset] == [{"red ring", "blue disc"}, frozenset()]
    assert dataset.vocabulary.mentions("Red rings and a green disc") == ("red ring",)


def test_a_list_takes_the_vocabulary_beside_it_and_images_from_elsewhere(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "images.jsonl", [{"image": "1.png", "objects": ["cup"]}])
    (tmp_path / "objects.json").write_text(json.dumps({"cup": ["mug"], "plate": []}))

    dataset = open_dataset(str(tmp_path), tmp_path, images=Path("/elsewhere"))

    assert dataset.examples == open_dataset(str(file), tmp_path, images=Path("/elsewhere")).examples
    assert dataset.examples[0].image == Path("/elsewhere/1.png")
    assert dataset.vocabulary.mentions("Two mugs on a plate") == ("cup", "plate")


def test_scenes_are_rendered_once_and_read_as_a_list(tmp_path: Path) -> None:
    dataset = open_dataset("demo:dense:3:5", tmp_path)
    written = (tmp_path / "demo-dense-3-5" / "images.jsonl").stat().st_mtime_ns

    again = open_dataset("demo:dense:3:5", tmp_path)

    assert again.examples == dataset.examples
    assert (tmp_path / "demo-dense-3-5" / "images.jsonl").stat().st_mtime_ns == written
    assert len(dataset) == 3
    assert all(example.image.is_file() and 6 <= len(example.objects) <= 8 for example in dataset)
    assert len(dataset.vocabulary.names) == 24


def test_the_second_world_is_read_in_the_same_way(tmp_path: Path) -> None:
    dataset = open_dataset("digits:in_distribution:2", tmp_path)
    assert len(dataset) == 2
    assert dataset.vocabulary.mentions("a red seven, Blue twos") == ("red seven", "blue two")


def test_a_split_that_is_none_is_said_with_the_worlds_own_words(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDataSet, match=r"demo:empty cannot be rendered: .*'empty' is not one of"):
        open_dataset("demo:empty", tmp_path)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "has no images"),
        ([[]], "line 1: a JSON object is wanted"),
        ([{"image": "1.png"}], 'line 1: "objects" must be a list of names'),
        ([{"image": "1.png", "objects": []}, {"image": 3, "objects": []}], 'line 2: "image" must be a text'),
        ([{"image": "1.png", "objects": []}, {"image": "1.png", "objects": []}], "has image 1.png twice"),
        ([{"image": "1.png", "objects": ["cup"]}], "has object 'cup', which is not in its vocabulary"),
    ],
)
def test_a_bad_list_is_said_in_one_sentence(tmp_path: Path, rows: list[Any], complaint: str) -> None:
    file = write_rows(tmp_path / "list.jsonl", rows)
    (tmp_path / "objects.json").write_text(json.dumps({"plate": []}))
    with pytest.raises(UnreadableDataSet, match=complaint):
        open_dataset(str(file), tmp_path)


def test_what_is_no_data_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDataSet, match="There is no data set nowhere"):
        open_dataset("nowhere", tmp_path)
    with pytest.raises(UnreadableDataSet, match=r"neither images\.jsonl nor COCO's"):
        open_dataset(str(tmp_path), tmp_path)


def test_a_sample_is_drawn_by_its_seed_and_keeps_the_order(tmp_path: Path) -> None:
    rows = [{"image": f"{number}.png", "objects": []} for number in range(50)]
    dataset = open_dataset(str(write_rows(tmp_path / "list.jsonl", rows)), tmp_path)

    drawn = dataset.sample(10, 1)

    assert drawn == dataset.sample(10, 1) != dataset.sample(10, 2)
    assert len(drawn) == 10
    assert [int(example.id.partition(".")[0]) for example in drawn] == sorted(
        int(example.id.partition(".")[0]) for example in drawn
    )
    assert dataset.sample(50, 1) == dataset


IMAGES = [{"id": 139, "file_name": "COCO_val_139.jpg", "width": 640, "height": 426, "license": 2}]
IMAGES += [{"id": 285, "file_name": "COCO_val_285.jpg", "width": 586, "height": 640, "license": 4}]
INSTANCES = {
    "info": {"year": 2014},
    "images": IMAGES,
    "licenses": [],
    "categories": [
        {"supercategory": "person", "id": 1, "name": "person"},
        {"supercategory": "furniture", "id": 62, "name": "chair"},
        {"supercategory": "animal", "id": 23, "name": "bear"},
    ],
    "annotations": [
        {"id": 1, "image_id": 139, "category_id": 62, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        {"id": 2, "image_id": 139, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        {"id": 3, "image_id": 139, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 1},
        {"id": 4, "image_id": 285, "category_id": 23, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
    ],
}
CAPTIONS = {
    "info": {"year": 2014},
    "images": IMAGES,
    "licenses": [],
    "annotations": [
        {"image_id": 139, "id": 1, "caption": "A woman stands in the dining area at the table."},
        {"image_id": 139, "id": 2, "caption": "A room with a television and train tracks on the wall."},
        {"image_id": 285, "id": 3, "caption": "A big brown bear sitting in grass with a hot dog."},
    ],
}


def write_coco(folder: Path, split: str = "val2014", **changed: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"instances_{split}.json").write_text(json.dumps(INSTANCES | changed))
    (folder / f"captions_{split}.json").write_text(json.dumps(CAPTIONS))
    return folder


def objects_of(dataset: DataSet) -> dict[str, set[str]]:
    return {example.id: set(example.objects) for example in dataset}


def test_cocos_objects_are_those_of_instances_and_captions_united(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations")
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "COCO_val_139.jpg").touch()

    dataset = open_dataset(str(tmp_path), tmp_path)

    assert objects_of(dataset) == {
        "COCO_val_139.jpg": {"chair", "person", "dining table", "tv"},
        "COCO_val_285.jpg": {"bear", "hot dog"},
    }
    assert dataset.examples[0].image == tmp_path / "val2014" / "COCO_val_139.jpg"


def test_of_several_splits_one_is_named_by_its_file(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, "train2014")
    with pytest.raises(UnreadableDataSet, match="several splits"):
        open_dataset(str(tmp_path), tmp_path)

    dataset = open_dataset(str(tmp_path / "instances_train2014.json"), tmp_path, images=tmp_path / "mine")

    assert dataset.examples[1].image == tmp_path / "mine" / "COCO_val_285.jpg"


def test_other_categories_in_cocos_form_are_known_by_name_or_by_the_users_own_words(tmp_path: Path) -> None:
    other = [{"id": 1, "name": "person"}, {"id": 62, "name": "spinning wheel"}, {"id": 23, "name": "bear"}]
    write_coco(tmp_path, categories=other)
    assert "spinning wheel" in objects_of(open_dataset(str(tmp_path), tmp_path))["COCO_val_139.jpg"]

    (tmp_path / "objects.json").write_text(json.dumps({"person": ["woman"], "spinning wheel": [], "bear": ["grass"]}))
    own = open_dataset(str(tmp_path), tmp_path)
    assert objects_of(own)["COCO_val_139.jpg"] == {"person", "spinning wheel"}
    assert own.vocabulary.names == {"person", "spinning wheel", "bear"}


def test_a_bad_coco_folder_is_said_in_one_sentence(tmp_path: Path) -> None:
    write_coco(tmp_path / "a", annotations=[{"image_id": 1}])
    with pytest.raises(UnreadableDataSet, match="not of COCO's form"):
        open_dataset(str(tmp_path / "a"), tmp_path)
    write_coco(tmp_path / "b")
    (tmp_path / "b" / "captions_val2014.json").unlink()
    with pytest.raises(UnreadableDataSet, match=r"captions_val2014\.json cannot be read"):
        open_dataset(str(tmp_path / "b"), tmp_path)
    write_coco(tmp_path / "c")
    (tmp_path / "c" / "captions_val2014.json").write_text("{")
    with pytest.raises(UnreadableDataSet, match="is not JSON"):
        open_task(str(tmp_path / "c"), tmp_path)
