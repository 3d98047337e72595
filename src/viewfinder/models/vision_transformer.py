"""Vision transformer of any size."""

from typing import Literal

import torch
from torch import Tensor, nn

from viewfinder.config.validate import Count, Share, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Problem, UserError
from viewfinder.models.patches import count_patches
from viewfinder.models.transfer import Transferable

STD, EPS = 0.02, 1e-6
"""Standard deviation of initial weights; number that layer norm adds to variances."""


class VisionTransformer(Transferable):
    """Linear embedding of patches, position embeddings, transformer encoder with pre-norm, linear layer.

    From Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words" (arXiv 2010.11929).

    Args:
        channels, classes: from the data.
        image_size: side of the images in pixels.
        patch_size: side of the patches in pixels.
        depth: number of encoder blocks.
        width: length of a patch's vector.
        heads: attention heads of each block.
        mlp_ratio: units of a block's hidden layer, as a multiple of `width`.
        pooling: "mean" over all patches, or "token" for a class token.
        dropout: probability after embeddings, attention and linear layers of the blocks.
        weights: a run of this network, or a file with its state_dict, from which all but the last layer is loaded; None
            for random weights.
        freeze: train the last layer only.
        cache_features: compute the features of a frozen network once, not every epoch.

    Raises:
        UserError: if the patches do not cover the images, the heads do not divide the width, or the weights are missing
            or do not match.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        image_size: Count = 32,
        patch_size: Count = 4,
        depth: Count = 6,
        width: Count = 192,
        heads: Count = 3,
        mlp_ratio: Count = 4,
        pooling: Literal["mean", "token"] = "mean",
        dropout: Share = 0.0,
        weights: Text | None = None,
        freeze: bool = False,
        cache_features: bool = True,
    ):
        super().__init__()
        patches = count_patches(image_size, patch_size) ** 2
        if width % heads:
            rule, multiple = f"must divide model.width={width}", max(1, width // heads) * heads
            remedy = f"For example model.width={multiple}."
            raise UserError("the configuration", [Problem("model.heads", rule, str(heads), remedy)])
        self.preprocess = Preprocess(image_size, mean=(0.5,), std=(0.25,))
        self.patches = nn.Conv2d(channels, width, patch_size, patch_size)
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if pooling == "token" else None
        self.positions = nn.Parameter(torch.zeros(1, patches + (pooling == "token"), width))
        self.dropout = nn.Dropout(dropout)
        blocks = [
            nn.TransformerEncoderLayer(
                width,
                heads,
                mlp_ratio * width,
                dropout,
                activation="gelu",
                layer_norm_eps=EPS,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        ]
        self.encoder, self.norm = nn.Sequential(*blocks), nn.LayerNorm(width, EPS)
        self.head = nn.Linear(width, classes)
        self._initialize()
        self.transfer(weights, freeze, cache_features)

    def _initialize(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1 and name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim > 1 and not name.startswith("patches."):
                nn.init.trunc_normal_(parameter, std=STD)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1)
        tokens = self.norm(self.encoder(self.dropout(tokens + self.positions)))
        return self.head(tokens.mean(1) if self.token is None else tokens[:, 0])
