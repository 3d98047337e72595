"""Transfer learning: weights of an earlier training under a new head, and frozen layers."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from viewfinder.errors import Problem, UserError
from viewfinder.models.state_dict import invalid_weights, load_into
from viewfinder.models.weights import read_weights

REMEDY = (
    "Pass weights of the same network, with the same arguments, trained on images with the same number of channels."
)


def find_head(network: nn.Module) -> str:
    """Return the name of the last linear layer, which computes the logits; '' if the network has no linear layer."""
    return next((name for name, module in reversed([*network.named_modules()]) if isinstance(module, nn.Linear)), "")


def build_head(features: int, hidden: Sequence[int], classes: int, dropout: float) -> nn.Sequential:
    """Build linear layers with ReLU between them and a dropout before each: (N, features) -> (N, classes)."""
    sizes = [features, *hidden, classes]
    layers = [(nn.Dropout(dropout), nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*itertools.chain(*layers))[:-1]


def is_within(name: str, parts: Sequence[str]) -> bool:
    """Return whether a module or parameter is one of the named parts or lies inside one; '' is the whole network."""
    return any(not part or f"{name}.".startswith(f"{part}.") for part in parts)


class Transferable(nn.Module):
    """A network made of a backbone and a head; the head is replaced for new classes.

    Attributes:
        head_name: name of the head's module; '' until `transfer` has found it.
        trainable: names of the modules and parameters that train. All others keep their values bit for bit, including
            batch-norm statistics.
        never_trained: names of parameters that never train.
        cache_features: whether the features of a frozen backbone are computed once rather than every epoch.
    """

    head_name = ""
    trainable: Sequence[str] = ("",)
    never_trained: Sequence[str] = ()
    cache_features = True

    def transfer(self, weights: str | None, freeze: bool, cache_features: bool = True) -> None:
        """Load weights and freeze layers; call it at the end of the constructor. The last linear layer is the head.

        Args:
            weights: a run of the same network, or a file with its state_dict; the head's weights are ignored.
            freeze: train the head only.
            cache_features: compute the features of a frozen backbone once, not every epoch.

        Raises:
            UserError: if there is no linear layer, or the weights are missing, unreadable or do not match.
        """
        self.head_name, self.cache_features = find_head(self), cache_features
        if not self.head_name:
            rule = f"{self.architecture} has no torch.nn.Linear layer to use as its head"
            raise UserError(
                "the configuration",
                [Problem("model._target_", rule, remedy="End the network with a torch.nn.Linear layer.")],
            )
        if weights is not None:
            loaded = read_weights(weights)
            self.check_architecture(weights, loaded.model)
            state = {key: value for key, value in loaded.state.items() if not self.is_in_head(key)}
            load_into(self, state, weights, REMEDY, self.is_in_head)
        self.freeze_except([self.head_name] if freeze else [""])

    @property
    def architecture(self) -> str:
        return type(self).__name__

    def check_architecture(self, weights: str, model: Mapping[str, Any] | None) -> None:
        """Check that a run's `model` group names this network; None is accepted.

        Raises:
            UserError: if it names a different network.
        """
        if model is not None and (trained := architecture_of(model)) != self.architecture:
            rule = f"is a run of {trained}; expected a run of {self.architecture}"
            raise invalid_weights(weights, rule, f"Pass a run of {self.architecture}.")

    def is_in_head(self, name: str) -> bool:
        """Return whether a module or parameter is the head or lies inside it."""
        return bool(self.head_name) and is_within(name, [self.head_name])

    def freeze_except(self, parts: Sequence[str]) -> None:
        """Freeze everything outside the named parts; '' is the whole network."""
        self.trainable = tuple(parts)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(self.is_trained(name, parts))
        self.train(self.training)

    def is_trained(self, name: str, parts: Sequence[str]) -> bool:
        """Return whether a parameter trains if the named parts do."""
        return is_within(name, parts) and name not in self.never_trained

    @property
    def is_backbone_frozen(self) -> bool:
        return all(map(self.is_in_head, self.trainable))

    def train(self, mode: bool = True) -> "Transferable":
        super().train(mode)
        for name, module in self.named_modules():
            if name and not is_within(name, self.trainable):
                module.training = False  # batch norm would update its statistics otherwise
        return self

    @contextlib.contextmanager
    def without_head(self) -> Iterator[None]:
        """Make the network return its backbone's features within the block: (N, C, H, W) -> (N, D)."""
        head = self.get_submodule(self.head_name)
        self.set_submodule(self.head_name, nn.Identity())
        try:
            yield
        finally:
            self.set_submodule(self.head_name, head)

    def classify(self, features: Tensor) -> Tensor:
        """Apply the head to the backbone's features: (N, D) -> logits (N, classes)."""
        return self.get_submodule(self.head_name)(features)


def architecture_of(model: Mapping[str, Any]) -> str:
    """Return the architecture that a `model` group of a configuration names."""
    return str(model.get("variant") or str(model.get("_target_")).rpartition(".")[2])
