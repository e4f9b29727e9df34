"""The encoder against open_clip called directly, one sentence and one image at a time."""

import io
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pairs.errors import MissingModel, NotAnImage, SettingsError
from tests.clip.conftest import CONTEXT, an_image
from workers.clip.encoder import Encoder
from workers.clip.scoring import Embeddings

SENTENCES = ["a red cup.", "a dog.", "two of it.", "x", "a blue ring!", "no 17."]


def direct(folder: Path, sentences: list[str], images: list[bytes]) -> tuple[Embeddings, Embeddings]:
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        texts = [model.encode_text(tokenize([one]), normalize=True)[0].numpy() for one in sentences]
        opened = [preprocess(Image.open(io.BytesIO(one)).convert("RGB"))[None] for one in images]
        seen = [model.encode_image(one, normalize=True)[0].numpy() for one in opened]
    return np.stack(texts), np.stack(seen)


def test_embeddings_are_open_clips_own(clip_folder: Path, encoder: Encoder) -> None:
    images = [an_image(seed) for seed in range(5)]
    texts, seen = direct(clip_folder, SENTENCES, images)
    np.testing.assert_allclose(encoder.embed_sentences(SENTENCES), texts, atol=1e-5)
    np.testing.assert_allclose(encoder.embed_images([encoder.pixels(one) for one in images]), seen, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    together = encoder.embed_sentences(SENTENCES)
    alone = np.concatenate([encoder.embed_sentences([one]) for one in SENTENCES])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_rows_are_float32_of_unit_length(encoder: Encoder) -> None:
    rows = encoder.embed_sentences(SENTENCES)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


@given(st.lists(st.integers(1, 2 * CONTEXT), min_size=1, max_size=8))
def test_a_sentence_fits_when_no_token_of_it_is_cut_off(encoder: Encoder, lengths: list[int]) -> None:
    assert encoder.fits(["a" * length for length in lengths]) == [length <= CONTEXT - 2 for length in lengths]


@pytest.mark.parametrize("length", [0, 1, 74, 75, 76, 77, 78, 200])
def test_what_fits_clips_own_tokenizer_is_told_too(length: int) -> None:
    sized = Encoder(torch.nn.Identity(), torch.nn.Identity(), open_clip.get_tokenizer("ViT-B-32"), "cpu", "float32")
    assert sized.fits([" ".join(["cup"] * length)]) == [length <= 75]


@pytest.mark.parametrize("content", [b"", b"not an image", an_image(1)[:200]])
def test_bytes_that_are_no_whole_image_are_refused(encoder: Encoder, content: bytes) -> None:
    with pytest.raises(NotAnImage):
        encoder.pixels(content)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_kind_of_picture_is_shaped_for_the_model(encoder: Encoder, mode: str) -> None:
    written = io.BytesIO()
    Image.new("L", (9, 70)).convert(mode).save(written, "TIFF" if mode == "CMYK" else "PNG")
    assert encoder.pixels(written.getvalue()).shape == (3, 32, 32)


@pytest.mark.parametrize("name", ["./nowhere", "no-such-model/openai", "ViT-B-32", "ViT-B-32/no-such-tag"])
def test_an_encoder_that_is_not_there_is_said_in_one_sentence(name: str) -> None:
    with pytest.raises(MissingModel) as caught:
        Encoder.load(name, "cpu")
    assert caught.value.detail.strip()
    assert "\n" not in caught.value.detail


def test_a_folder_without_weights_is_no_encoder(clip_folder: Path, tmp_path: Path) -> None:
    for name in ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((clip_folder / name).read_text())
    with pytest.raises(MissingModel):
        Encoder.load(str(tmp_path), "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there_is_said(clip_folder: Path) -> None:
    with pytest.raises(SettingsError, match="CUDA"):
        Encoder.load(str(clip_folder), "cuda")
