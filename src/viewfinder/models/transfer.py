"""Transfer learning: a network that may begin with the weights of another training, all but its head."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from viewfinder.models.weights import fill, read_weights, refused


def find_head(network: nn.Module) -> str:
    """The name of the last linear layer, which is the one that gives the logits; '' if there is none."""
    return next((name for name, module in reversed([*network.named_modules()]) if isinstance(module, nn.Linear)), "")


class Transferable(nn.Module):
    """A network of a head, which is new for other classes, and what comes before it, the backbone.

    `head_name` is the head's; `freeze` keeps all else as it is, bit for bit: parameters and batch-norm statistics.
    """

    head_name = ""
    freeze = False

    def transfer(self, weights: str | None, freeze: bool) -> None:
        """To be called when all layers are there: the last linear one is the head.

        Args:
            weights: a run of the same network, or a file with its state_dict, of which all but the head is taken.

        Raises:
            ViewfinderError: if the weights cannot be had or do not fit.
        """
        self.head_name = find_head(self)
        if weights is not None:
            found = read_weights(weights)
            self.check_same_kind(weights, found.model)
            state = {key: value for key, value in found.state.items() if not self.is_of_head(key)}
            fill(self, state, weights, "Give a run of the same network, with the same widths.", self.is_of_head)
        self.set_frozen(freeze)

    def check_same_kind(self, weights: str, model: Mapping[str, Any] | None) -> None:
        """Raises ViewfinderError if a run's configuration names another network."""
        if model is not None and (kind := kind_of(model)).casefold() != self.kind.casefold():
            raise refused(
                weights, f"is a run of {kind}, and this network is {self.kind}", f"Give a run of {self.kind}."
            )

    @property
    def kind(self) -> str:
        """What it is called."""
        return type(self).__name__

    def is_of_head(self, name: str) -> bool:
        """Whether a module or parameter is the head, or in it."""
        return f"{name}.".startswith(f"{self.head_name}.")

    def set_frozen(self, freeze: bool) -> None:
        self.freeze = freeze
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not freeze or self.is_of_head(name))
        self.train(self.training)

    def train(self, mode: bool = True) -> "Transferable":
        super().train(mode)
        if self.freeze:
            for name, module in self.named_modules():
                if name and not self.is_of_head(name):
                    module.training = False  # or batch norm would go on averaging
        return self

    def halves(self) -> tuple[Callable[[Tensor], Tensor], nn.Module]:
        """(backbone, head): pictures (N, C, H, W) -> features (N, D) -> logits (N, K), as the network itself."""
        head = self.get_submodule(self.head_name)

        def backbone(pictures: Tensor) -> Tensor:
            taken: list[Tensor] = []
            handle = head.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
            try:
                self(pictures)
            finally:
                handle.remove()
            return taken[0]

        return backbone, head


def kind_of(model: Mapping[str, Any]) -> str:
    """What the network of a `model` group is called."""
    return str(model.get("variant") or str(model.get("_target_")).rpartition(".")[2])
