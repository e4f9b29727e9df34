"""Every setting of a training run: what is trained on, with which loss, how long, and where the adapter goes."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trainer.arrange import Arrangement
from trainer.options import Options, env_prefix

Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sigmoid_norm",
]  # fmt: skip
"""The preference losses of TRL 1.16's DPOTrainer."""


class Recipe(Options):
    """What `judgefree train` does. The defaults suit the demo world; docs/recipes has those of a 7 B model."""

    command: ClassVar[str] = "train"
    model_config = SettingsConfigDict(env_prefix=env_prefix("train"), extra="forbid", frozen=True)

    # What is trained, on what
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+$", description="the adapter's name; made up if unset")
    out: Path | None = Field(None, description="folder of adapters; `adapters` in data_dir if unset")
    model: str | None = Field(None, description="the policy's base; the setting `model` if unset")
    parent: str | None = Field(None, description="folder of an adapter to go on from")
    snapshot: str | None = Field(None, description="name of a snapshot; a new one is taken if unset")

    # Which pairs a new snapshot takes
    decision: Literal["kept", "swapped"] | None = Field(None, description="only pairs of this decision")
    min_margin: float | None = Field(None, ge=0, description="least size of the margin")
    max_margin: float | None = Field(None, ge=0, description="greatest size of the margin")
    policy: str | None = Field(None, description="only pairs of this MODEL or MODEL@ADAPTER")
    pairs: Path | None = Field(None, description="only pairs in this file: one JSON object with an id a line")
    arrange: Arrangement | None = Field(
        None, description="read --pairs instead of the store, and choose by this rule (docs/ablation.md)"
    )
    per_image: int | None = Field(None, ge=1, description="most pairs an image")
    per_policy: int | None = Field(None, ge=1, description="most pairs a policy")
    balance_methods: bool = Field(False, description="as many pairs of each injection method")
    count: int | None = Field(None, ge=1, description="most pairs")
    held_out: float = Field(0.05, ge=0, lt=1, description="share of the images that is held out")
    least: int = Field(8, ge=1, description="fewer pairs than this are not trained on")

    # The loss
    loss: Loss = Field("sigmoid", description="preference loss of TRL's DPOTrainer; sigmoid is DPO")
    beta: float = Field(0.1, gt=0, description="strength of the pull towards the reference")
    nll_weight: float = Field(1.0, ge=0, description="weight of the chosen answer's NLL (RPO); 0 is plain DPO")
    margin_gamma: float = Field(0.0, ge=0, description="weight of the verifier's margin in the loss; 0 ignores it")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="flipped labels that robust and exo_pair assume")
    reference: Literal["base", "parent"] = Field("base", description="what the policy is held to")

    # The adapter
    lora_rank: int = Field(16, ge=1, description="rank of the adapter")
    lora_alpha: int = Field(32, ge=1, description="LoRA's alpha")
    lora_targets: tuple[str, ...] = Field((), description="modules to adapt; all linear layers if unset")

    # The optimisation
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    warm_up: float = Field(0.1, ge=0, lt=1, description="share of the steps over which it rises")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field("linear", description="how it falls")
    epochs: float = Field(2.0, gt=0, description="passes over the pairs")
    steps: int | None = Field(None, ge=1, description="steps, rather than passes")
    batch_size: int = Field(16, ge=1, description="pairs in a batch, on each device")
    accumulation: int = Field(1, ge=1, description="batches in a step")
    max_length: int | None = Field(None, ge=16, description="longest sequence in tokens, the image's included")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the adapter, the order and all draws")

    # The machine
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="bfloat16 on a GPU, float32 on a CPU")
    gradient_checkpointing: bool | None = Field(None, description="less memory, more time; on a GPU if unset")
    workers: int = Field(0, ge=0, description="processes that prepare batches")
    save_every: int = Field(50, ge=1, description="steps between checkpoints")
    log_every: int = Field(5, ge=1, description="steps between lines of metrics")
    tensorboard: bool = Field(False, description="also write TensorBoard's files")
