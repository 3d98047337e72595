"""Image sources, splits, storage, decoding, batches, preprocessing and augmentation."""
