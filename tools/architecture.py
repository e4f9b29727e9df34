"""Parameters and floating-point operations of LLaVA-like models and of CLIP, from their architectures' numbers; pure.

A product of [m, k] and [k, n] is counted as 2 m k n operations. Norms, activations and softmax are left out: they are
under 1 % of these models. Attention is counted in full, as its kernels are usually counted, also where it is causal.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decoder:
    """A Llama: gated MLP, no biases, input and output embeddings apart."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a layer's seven linear maps: q, k, v, o, gate, up, down."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = ((self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden))
        gated = (self.hidden, self.intermediate)
        return (*attention, gated, gated, (self.intermediate, self.hidden))

    @property
    def parameters(self) -> int:
        layer = sum(inputs * outputs for inputs, outputs in self.linears) + 2 * self.hidden
        return self.layers * layer + self.hidden + 2 * self.vocabulary * self.hidden

    def lora_parameters(self, rank: int) -> int:
        """Of an adapter of `rank` on every linear map of every layer."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.linears)

    def flops(self, tokens: int, scored: int) -> int:
        """Of one forward pass over a sequence of `tokens`, with logits of `scored` of them."""
        linear = 2 * tokens * self.layers * sum(inputs * outputs for inputs, outputs in self.linears)
        attention = 4 * self.layers * tokens**2 * self.heads * self.head_dim
        return linear + attention + 2 * scored * self.hidden * self.vocabulary


@dataclass(frozen=True)
class Tower:
    """A stack of CLIP's transformer blocks: biases everywhere, an ungated MLP."""

    layers: int
    hidden: int
    intermediate: int

    @property
    def parameters(self) -> int:
        attention = 4 * (self.hidden**2 + self.hidden)
        mlp = 2 * self.hidden * self.intermediate + self.intermediate + self.hidden
        return self.layers * (attention + mlp + 4 * self.hidden)

    def flops(self, tokens: int) -> int:
        linear = 2 * tokens * self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)
        return linear + 4 * self.layers * tokens**2 * self.hidden


@dataclass(frozen=True)
class Sight:
    """CLIP's image side: patches, a class token, positions, norms before and after the tower."""

    tower: Tower
    image_size: int
    patch: int

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch) ** 2

    @property
    def parameters(self) -> int:
        hidden = self.tower.hidden
        return self.tower.parameters + hidden * (3 * self.patch**2 + 1 + self.patches + 1 + 4)

    def flops(self) -> int:
        """Of one image."""
        patching = 2 * self.patches * 3 * self.patch**2 * self.tower.hidden
        return patching + self.tower.flops(self.patches + 1)


@dataclass(frozen=True)
class Llava:
    """A decoder that reads an image's patches through a projector of two layers with biases."""

    decoder: Decoder
    sight: Sight

    @property
    def parameters(self) -> int:
        seen, hidden = self.sight.tower.hidden, self.decoder.hidden
        projector = seen * hidden + hidden + hidden**2 + hidden
        return self.decoder.parameters + self.sight.parameters + projector

    def flops(self, text_tokens: int, scored: int) -> int:
        """Of one forward pass over an image and `text_tokens`, with logits of `scored` tokens."""
        seen, hidden, patches = self.sight.tower.hidden, self.decoder.hidden, self.sight.patches
        projector = 2 * patches * (seen * hidden + hidden**2)
        return self.sight.flops() + projector + self.decoder.flops(patches + text_tokens, scored)


@dataclass(frozen=True)
class Clip:
    """The verifier's encoder: an image side, a text tower over `context` tokens, and a projection of each."""

    sight: Sight
    text: Tower
    vocabulary: int
    context: int
    width: int

    @property
    def parameters(self) -> int:
        """Also the two norms' and the temperature's."""
        projections = (self.sight.tower.hidden + self.text.hidden) * self.width
        embeddings = (self.vocabulary + self.context + 2) * self.text.hidden
        return self.sight.parameters + self.text.parameters + embeddings + projections + 1

    def flops(self, sentences: int) -> int:
        """Of one image and `sentences`; every sentence is padded to the context."""
        each = self.text.flops(self.context) + 2 * self.text.hidden * self.width
        return self.sight.flops() + 2 * self.sight.tower.hidden * self.width + sentences * each


_VIT_L_336 = Sight(Tower(layers=24, hidden=1024, intermediate=4096), image_size=336, patch=14)
LLAVA_7B = Llava(
    Decoder(layers=32, hidden=4096, heads=32, kv_heads=32, head_dim=128, intermediate=11008, vocabulary=32064),
    _VIT_L_336,
)
"""llava-hf/llava-1.5-7b-hf; its config.json."""
CLIP_L_336 = Clip(_VIT_L_336, Tower(layers=12, hidden=768, intermediate=3072), 49408, context=77, width=768)
"""ViT-L-14-336 of open_clip; its model configuration."""
