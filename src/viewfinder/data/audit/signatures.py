"""Perceptual signatures of images, and their nearest neighbours."""

from typing import Any

import pandas as pd
import scipy.fft
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from viewfinder.data.table import Table

FREQUENCIES = 8
"""Frequencies of the cosine transform in each direction, as in pHash."""
MARGIN = 1
"""Pixels cut off each side of the thumbnails that are searched for. A crop by two pixels then differs from them by one,
and so does the whole image."""
NEIGHBOURS = 8
"""Most similar images of each image whose pixels are compared."""
MIN_COSINE = 0.8
"""Least similarity of signatures from which pixels are compared. Of 60,000 small photographs, each has 0.7 others above
it by chance; changed copies, also crops by two of 32 pixels, are above it but for one in a hundred."""
BLOCK = 2048
"""Images in memory at once."""
MAX_COSINES = 2**25
"""Cosines in memory at once, 128 MiB."""
LUMA = torch.tensor([0.299, 0.587, 0.114])


def compute_signatures(thumbnails: Tensor, margin: int = 0) -> Tensor:
    """Return a signature of each thumbnail, (N, D) float32; the cosine of two is their similarity.

    A signature is the low frequencies of the cosine transform of the grey levels, as in pHash (Zauner 2010,
    "Implementation and Benchmarking of Perceptual Image Hash Functions"), but with their values in place of their
    signs. Each is multiplied by the root of its frequency, since the amplitudes of photographs fall with the frequency.

    Args:
        thumbnails: (N, H, W, 3) uint8.
        margin: pixels to cut off each side.
    """
    frequencies = torch.arange(FREQUENCIES).square()
    weights = (frequencies[:, None] + frequencies).sqrt().sqrt()  # 0 for the mean level
    parts = []
    for block in thumbnails.split(BLOCK):
        levels = block.float() @ LUMA
        if margin:
            inner = levels[:, None, margin:-margin, margin:-margin]
            levels = functional.interpolate(inner, levels.shape[1:], mode="bilinear")[:, 0]
        transform: Any = scipy.fft.dctn(levels.numpy(), axes=(1, 2), norm="ortho")
        parts.append(torch.from_numpy(transform[:, :FREQUENCIES, :FREQUENCIES]) * weights)
    return functional.normalize(torch.cat(parts).flatten(1), eps=1.0)


def find_candidates(thumbnails: Tensor) -> Table:
    """Return pairs of images with similar signatures, with the columns first, second, is_mirrored and cosine.

    Each pair stands there once: first is the smaller number.

    Args:
        thumbnails: (N, H, W, 3) uint8.
    """
    signatures, searched = compute_signatures(thumbnails), compute_signatures(thumbnails, MARGIN)
    # Mirroring an image changes the sign of every odd frequency across.
    mirror = (1 - 2 * (torch.arange(FREQUENCIES) % 2)).repeat(FREQUENCIES)
    count, parts = len(signatures), []
    bar = tqdm(total=2 * count, desc="searching duplicates", leave=False, disable=None, unit=" images", delay=1)
    with bar:
        for is_mirrored in (False, True):
            for rows in torch.arange(count).split(max(1, MAX_COSINES // count)):
                query = searched[rows] * mirror if is_mirrored else searched[rows]
                cosines = query @ signatures.T
                cosines[torch.arange(len(rows)), rows] = -1
                best, neighbours = cosines.topk(min(NEIGHBOURS, count), dim=1)
                hits, ranks = (best >= MIN_COSINE).nonzero(as_tuple=True)
                pair = torch.stack([rows[hits], neighbours[hits, ranks]]).sort(dim=0).values.numpy()
                columns = {"first": pair[0], "second": pair[1], "is_mirrored": is_mirrored}
                parts.append(pd.DataFrame({**columns, "cosine": best[hits, ranks].numpy()}))
                bar.update(len(rows))
    pairs = pd.concat(parts).sort_values("cosine", ascending=False, kind="stable")
    return pairs.drop_duplicates(["first", "second"]).sort_values(["first", "second"], ignore_index=True)
