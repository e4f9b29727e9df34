"""What is submitted, and how a broken-off run goes on."""

from pathlib import Path

import pytest

from judgefree.client import Client, Fields
from judgefree.ledger import Ledger
from judgefree.mistakes import Mistake
from judgefree.submission import find_images, submit_all
from pairs.clock import new_pair_id
from tests.examples import a_pair

PNG = b"\x89PNG\r\n\x1a\n rest"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images and others, two folders deep, with a hidden file."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.PNG", "deep/er/c.webp.bin", ".hidden.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    return tmp_path


def test_folders_are_searched_to_the_bottom_by_content_and_each_file_comes_once(folder: Path) -> None:
    found = find_images(["photos", "photos/b.png", "photos/*.png"])
    assert [str(file) for file in found.images] == ["photos/a.PNG", "photos/b.png", "photos/deep/er/c.webp.bin"]
    assert found.met_others == (Path("photos/notes.txt"),)
    assert found.named_others == ()


def test_a_named_file_that_is_no_image_is_told_from_one_met_in_a_folder(folder: Path) -> None:
    assert find_images(["photos/notes.txt"]).named_others == (Path("photos/notes.txt"),)


def test_a_file_that_links_lead_to_comes_once_and_a_loop_of_links_ends(folder: Path) -> None:
    (folder / "photos" / "deep" / "loop").symlink_to(folder / "photos")
    (folder / "photos" / "z.png").symlink_to(folder / "photos" / "b.png")
    found = find_images(["photos"])
    assert [str(file) for file in found.images] == ["photos/a.PNG", "photos/b.png", "photos/deep/er/c.webp.bin"]


def test_a_file_that_cannot_be_read_has_an_outcome_that_says_so(folder: Path) -> None:
    unreadable = folder / "photos" / "memory.png"
    unreadable.symlink_to("/proc/self/mem")  # nobody, root included, can read its first bytes
    found = find_images(["photos/memory.png"])
    assert [file.name for file in found.images] == ["memory.png"]
    with Client() as client, Ledger(folder / "out.jsonl") as ledger:
        [outcome] = submit_all(client, found.images, Fields(), ledger, 1, 1)
    assert outcome.pair is None
    assert outcome.reason is not None
    assert "cannot be read" in outcome.reason


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0", PNG, b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP"])
def test_images_are_known_by_how_they_begin(folder: Path, start: bytes) -> None:
    (folder / "x").write_bytes(start + b"more")
    assert find_images(["x"]).images == (Path("x"),)


def test_a_key_is_the_same_for_the_same_request_in_the_same_run_only(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a.jsonl") as first:
        key = first.key(b"image", Fields(seed=1))
        assert key != first.key(b"image", Fields(seed=2))
        assert key != first.key(b"other", Fields(seed=1))
    with Ledger(tmp_path / "a.jsonl") as again, Ledger(tmp_path / "b.jsonl") as other:
        assert again.key(b"image", Fields(seed=1)) == key
        assert other.key(b"image", Fields(seed=1)) != key


def test_a_run_that_goes_on_knows_what_was_accepted_and_what_is_finished(tmp_path: Path) -> None:
    finished, accepted = a_pair(), new_pair_id()
    with Ledger(tmp_path / "out.jsonl", tmp_path) as ledger:
        ledger.accept("key-1", finished.id)
        ledger.accept("key-2", accepted)
        ledger.finish(tmp_path / "one.png", finished)
    with Ledger(tmp_path / "out.jsonl", tmp_path) as again:
        assert again.accepted("key-2") == accepted
        assert again.accepted("key-3") is None
        assert again.is_finished(tmp_path / "one.png", finished.id)
        assert not again.is_finished(tmp_path / "two.png", accepted)
    assert '"file": "one.png"' in (tmp_path / "out.jsonl").read_text()


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.journal"])
def test_a_line_broken_off_by_a_crash_is_cut_away(tmp_path: Path, name: str) -> None:
    pair = a_pair()
    with Ledger(tmp_path / "out.jsonl") as ledger:
        ledger.accept("key", pair.id)
        ledger.finish(Path("one.png"), pair)
        key = ledger.key(b"image", Fields())
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole + '{"file": "two.png", "prompt": "caf\u00e9'.encode()[:-1])
    with Ledger(tmp_path / "out.jsonl") as again:
        assert again.is_finished(Path("one.png"), pair.id)
        assert again.key(b"image", Fields()) == key
    assert (tmp_path / name).read_bytes() == whole


def test_two_runs_cannot_write_one_output(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path / "out.jsonl"),
        pytest.raises(Mistake, match="Another `judgefree submit`"),
        Ledger(tmp_path / "out.jsonl"),
    ):
        pass


def test_an_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="cannot be written"):
        Ledger(tmp_path)


@pytest.mark.parametrize("content", ["my diary, line 1\nline 2 without an end", "no end", '{"a": 1}\n', "[1]\n"])
@pytest.mark.parametrize("has_journal", [False, True])
def test_a_file_that_no_run_has_written_is_refused_and_left_as_it_is(
    tmp_path: Path, content: str, has_journal: bool
) -> None:
    out = tmp_path / "diary.txt"
    out.write_text(content)
    if has_journal:
        (tmp_path / "diary.txt.journal").write_text(content)
    for _ in range(2):
        with pytest.raises(Mistake, match="is no output of `judgefree submit`"):
            Ledger(out)
    assert out.read_text() == content
    assert (tmp_path / "diary.txt.journal").exists() is has_journal


def test_a_file_beside_an_empty_journal_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("[1]")
    (tmp_path / "out.jsonl.journal").touch()
    with pytest.raises(Mistake, match="is no output"):
        Ledger(tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "[1]"
