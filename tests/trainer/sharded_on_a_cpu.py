"""`python -m trainer` where accelerate shards on CPUs too.

accelerate 1.15 enters FSDP from the states that it gives to accelerators, and not from that of several CPUs: there it
reads the configuration, says nothing and runs DDP. All that comes after (its wrapping of the model by the shipped
configuration, torch's FSDP2 over gloo, the gathering of the adapter) a CPU carries; so this takes that one step.
"""

import sys
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from trainer.__main__ import main

_begin = AcceleratorState.__init__


def _begin_sharded(self: Any, *arguments: Any, fsdp_plugin: Any = None, **named: Any) -> None:
    _begin(self, *arguments, fsdp_plugin=fsdp_plugin, **named)
    if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


if __name__ == "__main__":
    AcceleratorState.__init__ = _begin_sharded  # type: ignore[method-assign, unused-ignore]
    sys.exit(main())
