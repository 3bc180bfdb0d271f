"""flash-attention: its Triton cross entropy, from the one file that needs no CUDA build."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._package import from_package
from ._reduce import reduced
from ._shims import CAPS, load_file, triton_anywhere

if TYPE_CHECKING:
    from torch import Tensor

#: The package, or the folder of that name from its source distribution, renamed so that
#: nobody takes it for the package, which cannot be imported without CUDA.
PACKAGE = "flash_attn" if importlib.util.find_spec("flash_attn") else "flash_attn_source"


def load() -> Callable[..., Any]:
    """``cross_entropy_loss``, reduced as ``flash_attn.losses.cross_entropy`` does."""
    import torch

    triton_anywhere()
    module: Any = load_file(PACKAGE, "ops/triton/cross_entropy.py", {})
    if not torch.cuda.is_available():
        # The file enters the device of its tensors before it starts a kernel.
        module.torch = _CPU(torch)

    def flash_attn(
        input: Tensor,
        target: Tensor,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        losses, _ = module.cross_entropy_loss(
            input, target, label_smoothing=label_smoothing, ignore_index=ignore_index
        )
        return reduced(losses, target, ignore_index, reduction)

    return flash_attn


class _CPU:
    """``torch`` as that file sees it, with a ``cuda.device`` that does nothing."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self.cuda = self

    def device(self, index: int | None) -> Any:
        """Stands for ``torch.cuda.device``."""
        return nullcontext()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)


def _source_version() -> str | None:
    """The version that an unpacked source distribution, which has no metadata, states."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return found[1] if found else None


_DECLARED = from_package(
    "flash_attn",
    load,
    distribution="flash-attn",
    requires=(PACKAGE, "triton"),
    lacks=("spatial", "unbatched", "soft_target"),
    divergences={"half_output": "float32"},
    precision="fp32_inside",
    dtypes=("float32", "bfloat16", "float16"),  # losses are documented as float32
    **CAPS,
    url="https://github.com/Dao-AILab/flash-attention/tree/main/flash_attn/losses",
)
IMPLEMENTATIONS = (replace(_DECLARED, version=_DECLARED.version or _source_version()),)
