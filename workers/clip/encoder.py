"""The contrastive encoder: open_clip behind four calls. Bytes and texts in, rows of unit length out."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from pairs.errors import MissingModel, NotAnImage, SettingsError
from pairs.settings import local_model
from pairs.torchvision_cpu import declare_missing_ops
from workers.clip.scoring import Embeddings

declare_missing_ops()  # before open_clip, which imports torchvision
import open_clip  # noqa: E402

from workers.clip.text import text_tower  # noqa: E402 - it imports open_clip

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]

_PRECISION = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for bytes that it cannot read."""
_MOST_ROWS = 1024
"""Rows in one pass of a tower: it bounds memory, and is more than a usual batch has."""


class Encoder:
    """A loaded encoder. Thread-safe for `pixels` and `fits`; one thread at a time for the two embeddings."""

    def __init__(self, model: Any, preprocess: Callable[[Any], Tensor], tokenize: Any, device: str, dtype: str) -> None:
        self._model = model.eval()
        self._preprocess = preprocess
        self._tokenize = tokenize
        self._text = text_tower(self._model)
        self.device = device
        self.dtype = dtype
        self._image_dtype: torch.dtype = getattr(torch, dtype)
        self.context_length = int(getattr(tokenize, "context_length", None) or model.context_length)
        self._pad, self._tail = _padding(tokenize, self.context_length)

    @classmethod
    def load(cls, name: str, device: Device = "auto", dtype: Dtype = "auto") -> Self:
        """Load `demo`, a folder, `MODEL/PRETRAINED` or `hf-hub:ORG/REPO` as open_clip knows them.

        `auto` means cuda where there is one, and float16 on cuda, float32 on the CPU. Raises MissingModel,
        SettingsError.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise SettingsError("clip_device is cuda, but torch finds no CUDA device here; set it to cpu or auto.")
        place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        precise = ("float16" if place == "cuda" else "float32") if dtype == "auto" else dtype
        architecture, pretrained = _identify(name)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="QuickGELU mismatch")  # the tag's own, said by open_clip
                model, preprocess = open_clip.create_model_from_pretrained(
                    architecture, pretrained=pretrained, precision=_PRECISION[precise], device=place
                )
            tokenize = open_clip.get_tokenizer(architecture)
        except (OSError, RuntimeError, ValueError) as error:  # what open_clip raises for what it cannot find or read
            raise MissingModel(f"The encoder {name} cannot be loaded: {_first_line(error)}") from error
        return cls(model, preprocess, tokenize, place, precise)

    @property
    def versions(self) -> dict[str, str]:
        return {"open_clip": open_clip.__version__, "torch": torch.__version__}

    def pixels(self, content: bytes) -> Tensor:
        """Decode an image and shape it for the image tower: [3, height, width] float32.

        Raises NotAnImage for bytes that are not a whole image.
        """
        try:
            with Image.open(io.BytesIO(content)) as image:
                return self._preprocess(image.convert("RGB"))
        except _BROKEN as error:
            raise NotAnImage(f"The stored image cannot be read ({type(error).__name__}).") from error

    def fits(self, sentences: Sequence[str]) -> list[bool]:
        """Whether each sentence fits the text context whole, special tokens included."""
        if not sentences:
            return []
        tokens = self._tokenize(list(sentences))
        end = self.context_length - self._tail
        fit = [bool(row) for row in (tokens[:, end - 2 : end] == self._pad).all(dim=1)]
        at_risk = [index for index, is_short in enumerate(fit) if not is_short]
        if at_risk:  # what one place more would change, did not fit
            longer = self._tokenize([sentences[index] for index in at_risk], self.context_length + 1)
            same = (longer[:, :end] == tokens[at_risk, :end]).all(dim=1)
            for index, is_whole in zip(at_risk, same, strict=True):
                fit[index] = bool(is_whole)
        return fit

    def embed_images(self, pixels: Sequence[Tensor]) -> Embeddings:
        """[n, dim] float32, each row of unit length, from n images as `pixels` shapes them."""
        return self._embed(
            lambda part: self._model.encode_image(torch.stack(part).to(self.device, self._image_dtype)), pixels
        )

    def embed_sentences(self, sentences: Sequence[str]) -> Embeddings:
        """[n, dim] float32, each row of unit length; a sentence that does not fit the context is cut off at its end."""
        return self._embed(lambda part: self._text(self._tokenize(part).to(self.device)), sentences)

    def _embed(self, encode: Callable[[list[Any]], Tensor], inputs: Sequence[Any]) -> Embeddings:
        rows: list[Embeddings] = []
        with torch.inference_mode():
            for start in range(0, len(inputs), _MOST_ROWS):
                features = encode(list(inputs[start : start + _MOST_ROWS])).float()
                rows.append(normalize(features, dim=-1).cpu().numpy())
        return np.concatenate(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def _identify(name: str) -> tuple[str, str | None]:
    """open_clip's model name and pretrained tag for the setting `clip`."""
    if name.startswith("hf-hub:"):
        return name, None
    found = local_model(name.removeprefix("local-dir:"), "clip")
    if Path(found).is_dir():
        return f"local-dir:{found}", None
    architecture, _, pretrained = name.partition("/")
    if architecture not in open_clip.list_models() or not pretrained:
        raise MissingModel(
            f"There is no encoder {name}; give open_clip's MODEL/PRETRAINED, hf-hub:ORG/REPO, a folder or `demo`."
        )
    return architecture, pretrained


def _padding(tokenize: Any, context_length: int) -> tuple[int, int]:
    """The padding token, and how many tokens the tokenizer sets after the padding (a class token, in some)."""
    short, longer = tokenize([""], context_length)[0], tokenize([""], context_length + 1)[0]
    tail = int(short[-1] != longer[context_length - 1])
    return int(short[context_length - 1 - tail]), tail


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
