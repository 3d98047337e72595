"""Division of a network into consecutive blocks."""

from torch import nn

SEQUENCES = (nn.Sequential, nn.ModuleList)
NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d,
    nn.InstanceNorm3d, nn.LayerNorm, nn.GroupNorm,
)  # fmt: skip
WRAPPER_SHARE = 0.9
"""Share of the backbone's parameters from which a module counts as a wrapper of blocks, not as a block."""


def list_blocks(network: nn.Module, head: str) -> list[list[str]]:
    """Return the names of the modules and parameters of each block except the head, from first to last.

    A block is a child module of the network, or of a module that wraps nearly all of it: a residual block, a
    transformer block, an Inception module, or a layer. Items of a plain sequence of blocks or layers count separately;
    sequences nested in those items do not. Normalisation layers and modules without parameters join the block before
    them. Parameters outside any module, such as a class token, join the first block.

    Args:
        head: name of the network's last layers.
    """
    total = _count_parameters(network) - _count_parameters(network.get_submodule(head))
    blocks: list[list[str]] = []
    loose_parameters: list[str] = []

    def visit(parent: nn.Module, prefix: str) -> None:
        loose_parameters.extend(prefix + name for name, _ in parent.named_parameters(recurse=False))
        for name, child in parent.named_children():
            path = prefix + name
            if path == head:
                continue
            if f"{head}.".startswith(f"{path}.") or _contains_blocks(child, type(parent) not in SEQUENCES, total):
                visit(child, f"{path}.")
            elif _count_parameters(child) and not (blocks and isinstance(child, NORMS)):
                blocks.append([path])
            elif blocks:
                blocks[-1].append(path)

    visit(network, "")
    if loose_parameters and blocks:
        blocks[0] += loose_parameters
    return blocks


def _contains_blocks(module: nn.Module, is_outermost: bool, total: int) -> bool:
    """Return whether a module is a container of blocks rather than one block."""
    if type(module) in SEQUENCES:
        return is_outermost or any([*child.children()] for child in module.children())
    return bool([*module.children()]) and _count_parameters(module) >= WRAPPER_SHARE * total


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
