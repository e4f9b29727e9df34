"""Lets a CUDA build of torchvision import beside a CPU build of torch; the one module of this room that needs torch.

The default package index has no CPU build of torchvision. Its CUDA build registers fake kernels for `nms` and
`qnms` at import, and that fails when the compiled extension behind the two operators could not be loaded. Declaring
their schemas first is enough: neither vLLM's LLaVA nor open_clip nor TRL ever calls them.
"""

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def declare_missing_ops() -> None:
    """Declare torchvision's unguarded operators on a torch without CUDA; call before torchvision is imported.

    Does nothing on a CUDA build of torch, where the real operators load, and nothing when called again.
    """
    if torch.version.cuda is not None or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)  # the declarations live as long as this object
