"""Network with its preprocessing, from the levels of an image to probabilities."""

import copy

from torch import Tensor, nn

from viewfinder.data.exportable_resize import MatrixResize, PillowResize
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.resize import Resize, Size
from viewfinder.models.tta import classify


class InferenceNetwork(nn.Module):
    """A trained network for images of any size, with the same preprocessing as `viewfinder predict`.

    Args:
        network: maps float images to logits; its attribute `preprocess` converts uint8 images.
        size: size to which files are resized when they are decoded, before `preprocess`.
        temperature: divisor of the logits, if the run is calibrated.
    """

    def __init__(self, network: nn.Module, size: Size, temperature: float | None = None):
        super().__init__()
        self.temperature = temperature
        resize = Resize.from_size(size)
        self.network, self.resize = network, PillowResize(resize)
        self.preprocess = copy.copy(get_preprocess(network))
        self.preprocess.resize = MatrixResize(self.preprocess.resize, resize.height, resize.width)  # type: ignore[assignment]
        self.preprocess.scale, self.preprocess.shift = self.preprocess.scale.cpu(), self.preprocess.shift.cpu()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images (N, C, H, W) to probabilities and logits, each (N, K) float32."""
        logits = classify(self.network, self.preprocess(self.resize(images)))
        if self.temperature is not None:
            logits = logits / self.temperature
        return logits.softmax(1), logits
