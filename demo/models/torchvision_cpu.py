"""Lets a CUDA build of torchvision import beside a CPU build of torch.

torchvision registers fake kernels for two operators of its compiled extension at import; where that extension could
not be loaded the registration fails. Declaring their schemas first is enough, since nothing here calls them. (The
workers have the same few lines: rooms never import each other.)
"""

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def declare_missing_ops() -> None:
    """Declare the operators on a torch without CUDA, unless some caller has; call before torchvision imports."""
    if torch.version.cuda is not None or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)  # the declarations live as long as this object
