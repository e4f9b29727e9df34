"""The two models of the demo world: the only part of `demo` that imports torch.

Importing this package first declares the operators that torchvision lacks beside a CPU build of torch: transformers
and open_clip both import torchvision, and the default package index only has its CUDA build.
"""

from pairs.torchvision_cpu import declare_missing_ops

declare_missing_ops()
