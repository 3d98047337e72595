"""Augmentations of whole batches on their device, one file each, and their composition."""
