"""Undocumented parts of torch that training uses, checked with torch 2.6 to 2.14."""

import torch


def has_avx512_bf16() -> bool:
    """Return whether the CPU multiplies bfloat16 in AVX-512 registers."""
    return torch.cpu._is_avx512_bf16_supported()


def has_amx() -> bool:
    """Return whether the CPU multiplies tiles of bfloat16 (Intel AMX)."""
    return torch.cpu._is_amx_tile_supported()


def is_compile_error(error: BaseException) -> bool:
    """Return whether torch.compile itself raised an error, not the code that it compiles."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import

    return isinstance(error, TorchDynamoException)


def abandon_capture(gpu: torch.device) -> None:
    """Make a GPU's random generator usable again after a failed CUDA graph capture."""
    generator = torch.cuda.default_generators[gpu.index or 0]
    generator.graphsafe_set_state(generator.clone_state())
