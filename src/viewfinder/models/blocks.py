"""A network's blocks in the order in which pictures pass through them, told from its modules alone."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

SEQUENCES = (nn.Sequential, nn.ModuleList)
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
WRAPPED = 0.9
"""Of all parameters but the head's, what a module holds that is no block but nearly the whole network."""


def blocks_of(network: nn.Module, head: str) -> list[list[str]]:
    """Names of the modules and parameters of each block but the head, from the first to the last.

    A block is what the network, or nearly the whole of it, has in turn: a residual or transformer block, an Inception
    module, or a layer. Where it has torch's plain sequences, of blocks or of layers, those count one by one, but not
    what they hold in their turn. Normalisations and what has no parameters belong to the block before them; parameters
    of no module, such as a class token, to the first.

    Args:
        head: the name of the network's last layers.
    """
    total = _size(network) - _size(network.get_submodule(head))
    blocks: list[list[str]] = []
    loose: list[str] = []

    def visit(parent: nn.Module, prefix: str) -> None:
        loose.extend(prefix + name for name, _ in parent.named_parameters(recurse=False))
        for name, child in parent.named_children():
            path = prefix + name
            if path == head:
                continue
            if f"{head}.".startswith(f"{path}.") or _is_opened(child, type(parent) not in SEQUENCES, total):
                visit(child, f"{path}.")
            elif _size(child) and not (blocks and isinstance(child, NORMS)):
                blocks.append([path])
            elif blocks:
                blocks[-1].append(path)

    visit(network, "")
    if loose and blocks:
        blocks[0] += loose
    return blocks


def _is_opened(module: nn.Module, is_at_the_top: bool, total: int) -> bool:
    """Whether a module is no block itself, but a list of some."""
    if type(module) in SEQUENCES:
        return is_at_the_top or any([*child.children()] for child in module.children())
    return bool([*module.children()]) and _size(module) >= WRAPPED * total


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
