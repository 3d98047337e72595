"""Progressive resizing: smaller training images in early epochs."""

from viewfinder.config.validate import Count, Probability, Share
from viewfinder.data.augmentations.pipeline import Context
from viewfinder.data.batches import Batch


class ProgressiveResizing:
    """Training images that grow from epoch to epoch to the network's input size, which evaluation always has.

    Howard 2018, "Training Imagenet in 3 hours for USD 25" (fast.ai); Touvron et al. 2019, "Fixing the train-test
    resolution discrepancy" (arXiv 1906.06423) is why the last epochs have the full size.

    Args:
        start: size in the first epoch, as a share of the full size.
        until: share of the epochs in which images are smaller. The last epoch always has the full size.
        multiple: smaller sizes are multiples of so many pixels, at least one.
    """

    def __init__(self, start: Share = 0.5, until: Probability = 0.7, multiple: Count = 4):
        self.start, self.until, self.multiple = start, until, multiple

    def size_at(self, epoch: int, max_epochs: int, full_size: int) -> int:
        """Return the side of the images in an epoch, from 0, in pixels; without an end of training the full size."""
        growing = min(int(self.until * max_epochs), max_epochs - 1)
        if epoch >= growing:
            return full_size
        size = full_size * (self.start + (1 - self.start) * epoch / growing)
        return min(full_size, max(1, round(size / self.multiple)) * self.multiple)

    def augment_batch(self, batch: Batch, context: Context) -> Batch:
        size = self.size_at(context.epoch, context.max_epochs, context.preprocess.image_size)
        return batch._replace(pixels=context.preprocess.resize_to(batch.pixels, size), is_resized=True)
