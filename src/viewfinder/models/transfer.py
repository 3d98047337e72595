"""Transfer learning: a network that may begin with the weights of another training, all but its head."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from viewfinder.errors import Problem, UserError
from viewfinder.models.weights import fill, read_weights, refused

ALIKE = "Give weights of the same network, with the same arguments, trained on pictures of as many channels."


def find_head(network: nn.Module) -> str:
    """The name of the last linear layer, which is the one that gives the logits; '' if there is none."""
    return next((name for name, module in reversed([*network.named_modules()]) if isinstance(module, nn.Linear)), "")


def is_within(name: str, parts: Sequence[str]) -> bool:
    """Whether a module or parameter is one of some parts of a network, or in one; '' is the whole network."""
    return any(not part or f"{name}.".startswith(f"{part}.") for part in parts)


class Transferable(nn.Module):
    """A network of a head, which is new for other classes, and what comes before it, the backbone.

    `head_name` is the head's; '' until it is known. Of `trained`, names of modules and parameters, all is trained; what
    is not stays as it is, bit for bit: parameters and batch-norm statistics.
    """

    head_name = ""
    trained: Sequence[str] = ("",)
    cache_features = True

    def transfer(self, weights: str | None, freeze: bool, cache_features: bool = True) -> None:
        """To be called when all layers are there: the last linear one is the head.

        Args:
            weights: a run of the same network, or a file with its state_dict, of which all but the head is taken.
            freeze: train the head alone.
            cache_features: compute a frozen backbone's features once, not every epoch; see viewfinder.features.

        Raises:
            UserError: if there is no linear layer, or the weights cannot be had or do not fit.
        """
        self.head_name, self.cache_features = find_head(self), cache_features
        if not self.head_name:
            rule, remedy = f"{self.kind} has no linear layer that could be its head", "End it with a torch.nn.Linear."
            raise UserError("the configuration", [Problem("model._target_", rule, remedy=remedy)])
        if weights is not None:
            found = read_weights(weights)
            self.check_same_kind(weights, found.model)
            state = {key: value for key, value in found.state.items() if not self.is_of_head(key)}
            fill(self, state, weights, ALIKE, self.is_of_head)
        self.train_only([self.head_name] if freeze else [""])

    def check_same_kind(self, weights: str, model: Mapping[str, Any] | None) -> None:
        """Raises UserError if a run's configuration names another network."""
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
        return bool(self.head_name) and is_within(name, [self.head_name])

    def train_only(self, parts: Sequence[str]) -> None:
        """Keep everything but these parts as it is; '' is the whole network."""
        self.trained = tuple(parts)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(is_within(name, parts))
        self.train(self.training)

    @property
    def is_backbone_frozen(self) -> bool:
        return all(map(self.is_of_head, self.trained))

    def train(self, mode: bool = True) -> "Transferable":
        super().train(mode)
        for name, module in self.named_modules():
            if name and not is_within(name, self.trained):
                module.training = False  # or batch norm would go on averaging
        return self

    @contextlib.contextmanager
    def without_head(self) -> Iterator[None]:
        """Within this block the network gives its backbone's features, (N, C, H, W) -> (N, D)."""
        head = self.get_submodule(self.head_name)
        self.set_submodule(self.head_name, nn.Identity())
        try:
            yield
        finally:
            self.set_submodule(self.head_name, head)

    def classify(self, features: Tensor) -> Tensor:
        """The backbone's features (N, D) -> logits (N, K)."""
        return self.get_submodule(self.head_name)(features)


def kind_of(model: Mapping[str, Any]) -> str:
    """What the network of a `model` group is called."""
    return str(model.get("variant") or str(model.get("_target_")).rpartition(".")[2])
