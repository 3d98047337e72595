"""TF32 settings of torch."""

import torch


def read_tf32() -> tuple[bool, bool]:
    """Return whether convolutions and matrix products on a GPU use TF32."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        return cudnn.conv.fp32_precision == "tf32", matmul.fp32_precision == "tf32"  # type: ignore[attr-defined]
    return cudnn.allow_tf32, matmul.allow_tf32  # torch before 2.9
