"""Division of images into square patches."""

from viewfinder.errors import Problem, UserError


def count_patches(image_size: int, patch_size: int) -> int:
    """Return the number of patches along a side of the images.

    Raises:
        UserError: if they do not cover the images.
    """
    if image_size % patch_size:
        rule = f"must divide the side of the images, model.image_size={image_size}, into whole patches"
        remedy = f"For example model.image_size={max(1, image_size // patch_size) * patch_size}."
        raise UserError("the configuration", [Problem("model.patch_size", rule, str(patch_size), remedy)])
    return image_size // patch_size
