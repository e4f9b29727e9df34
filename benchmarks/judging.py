"""A vision-language model as the judge of answers: what verification by a contrastive encoder does without.

Written to be quick: an image is read once, whatever is asked of it, questions go in one batch, and the head is run only
on the positions that count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()

from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402 - it imports torchvision

QUESTION = 'Does the sentence "{}" describe the image? Answer yes or no.'
YES = "yes"


@dataclass(frozen=True)
class _Row:
    """What is read after image number `image`; the log-probabilities of the last `scored` tokens are wanted."""

    image: int
    tokens: list[int]
    scored: int


@dataclass(frozen=True)
class Judge:
    """A model in float32 and its processor."""

    processor: Any
    model: Any

    @classmethod
    def load(cls, folder: str) -> "Judge":
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        return cls(AutoProcessor.from_pretrained(folder), model.eval())

    def knows(self, word: str) -> bool:
        """Whether the vocabulary has `word`."""
        tokenizer = self.processor.tokenizer
        return tokenizer.unk_token_id not in tokenizer.encode(word, add_special_tokens=False)

    def says_yes(self, images: Sequence[Image.Image], sentences: Sequence[Sequence[str]]) -> list[float]:
        """Of each answer, given by its sentences and its image, the mean log-probability of "yes" to QUESTION."""
        rows = [
            _Row(image, self._after_the_image(QUESTION.format(sentence), YES), 1)
            for image, found in enumerate(sentences)
            for sentence in found
        ]
        said = iter(self._log_probabilities(rows, self._read(images)))
        return [fmean(next(said) for _ in found) if found else 0.0 for found in sentences]

    def likelihoods(self, images: Sequence[Image.Image], prompt: str, answers: Sequence[str]) -> list[float]:
        """The mean log-probability of each answer's tokens as the reply to `prompt` about its image."""
        rows = []
        for image, answer in enumerate(answers):
            asked, whole = self._after_the_image(prompt, ""), self._after_the_image(prompt, answer)
            rows.append(_Row(image, whole, len(whole) - len(asked)))
        return self._log_probabilities(rows, self._read(images))

    def _after_the_image(self, question: str, reply: str) -> list[int]:
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        text = self.processor.apply_chat_template([message], add_generation_prompt=True)
        _, _, after = text.partition(self.processor.image_token)
        tokens: list[int] = self.processor.tokenizer.encode(f"{after} {reply}".rstrip(), add_special_tokens=False)
        return tokens

    @torch.inference_mode()
    def _read(self, images: Sequence[Image.Image]) -> tuple[Any, list[int]]:
        """The cache of everything up to the image's end, a row for each distinct image, and the row of each image."""
        order = {id(image): image for image in images}
        place = {key: row for row, key in enumerate(order)}
        message = {"role": "user", "content": [{"type": "image"}]}
        text = self.processor.apply_chat_template([message])
        before = text[: text.index(self.processor.image_token) + len(self.processor.image_token)]
        distinct = list(order.values())
        inputs = self.processor(
            text=[before] * len(distinct), images=distinct, return_tensors="pt", add_special_tokens=False
        )
        read = self.model.model(**inputs, use_cache=True)
        return read.past_key_values, [place[id(image)] for image in images]

    @torch.inference_mode()
    def _log_probabilities(self, rows: list[_Row], read: tuple[Any, list[int]]) -> list[float]:
        """The mean log-probability of each row's scored tokens."""
        cache, row_of = read
        cache.batch_select_indices(torch.tensor([row_of[row.image] for row in rows]))
        longest = max(len(row.tokens) for row in rows)
        pad = self.processor.tokenizer.pad_token_id
        tokens = torch.tensor([row.tokens + [pad] * (longest - len(row.tokens)) for row in rows])
        is_real = torch.tensor([[1] * len(row.tokens) + [0] * (longest - len(row.tokens)) for row in rows])
        mask = torch.cat([torch.ones(len(rows), cache.get_seq_length(), dtype=torch.long), is_real], dim=1)
        hidden = self.model.model(input_ids=tokens, attention_mask=mask, past_key_values=cache).last_hidden_state
        where = [
            (index, at)
            for index, row in enumerate(rows)
            for at in range(len(row.tokens) - row.scored - 1, len(row.tokens) - 1)
        ]
        index, at = (torch.tensor(side) for side in zip(*where, strict=True))
        logits: Tensor = self.model.lm_head(hidden[index, at])
        values = iter(logits.log_softmax(-1).gather(1, tokens[index, at + 1].unsqueeze(1)).squeeze(1).tolist())
        return [fmean(next(values) for _ in range(row.scored)) for row in rows]
