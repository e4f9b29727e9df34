"""Word-level tokenizers of the demo worlds, in the Hugging Face form: one for the language model, one for CLIP.

Any text can be tokenised: words outside the small vocabulary become `<unk>`. The language model's tokenizer never adds
special tokens by itself; its chat template writes the start token, so that vLLM, a processor and a trainer arrive at
the same ids whether or not they ask for special tokens.
"""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from demo.captions import vocabulary
from demo.worlds import World

PAD, UNKNOWN, START, END, IMAGE = "<pad>", "<unk>", "<s>", "</s>", "<image>"
USER, ASSISTANT, COLON = "USER", "ASSISTANT", ":"
CLIP_CONTEXT = 32

CHAT_TEMPLATE = (
    "{{ '<s>' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'ASSISTANT: ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}"
    "{% endif %}{{ '</s>' }}"
    "{% else %}"
    "{{ 'USER: ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<image> ' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}"
    "{% endif %}{{ ' ' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


@cache
def language_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """The language model's tokenizer: ids 0 to 4 are pad, unk, start, end, image; case matters; decodes to prose."""
    words = [PAD, UNKNOWN, START, END, IMAGE, USER, ASSISTANT, COLON]
    tokenizer = _word_level([*words, *(word for word in vocabulary(world) if word not in words)])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=True),  # joins words by blanks, but for the one before a full stop
            decoders.Fuse(),
            # A streaming decoder sees the answer after its prompt: without this it would begin with a blank.
            decoders.Replace(f" {COLON}", COLON),
            decoders.Replace(f"{ASSISTANT}{COLON} ", f"{ASSISTANT}{COLON}"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        additional_special_tokens=[IMAGE],
        extra_special_tokens={"image_token": IMAGE},
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


@cache
def clip_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """CLIP's tokenizer: lower case, start and end added; the end has the largest id, where the text tower pools."""
    words = sorted({word.lower() for word in vocabulary(world)})
    ordered = [PAD, UNKNOWN, START, *words, END]
    tokenizer = _word_level(ordered)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ordered.index(START)), (END, ordered.index(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        model_max_length=CLIP_CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def _word_level(words: list[str]) -> Tokenizer:
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer
