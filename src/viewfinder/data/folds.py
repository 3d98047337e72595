"""Folds of a cross-validation: each in turn is the test split."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from viewfinder.data.class_names import natural_key
from viewfinder.data.groups import divide_groups
from viewfinder.data.seeding import derive_seed
from viewfinder.data.split import ImageRows, Split, deal_images
from viewfinder.errors import Problem, UserError, join_names

FoldCount = Annotated[int, Field(ge=2)]


def check_fold(folds: int | None, fold: int) -> list[Problem]:
    """Return a problem if there is no such fold."""
    if folds is None:
        return [Problem("data.fold", "has no effect without data.folds", str(fold), "Add data.folds.")] if fold else []
    if folds < 2:
        return [Problem("data.folds", "must be 2 or more", str(folds), "For example data.folds=5.")]
    if fold < folds:
        return []
    remedy = f"Folds are numbered from 0. For all of them: python train.py -m 'data.fold=range({folds})'"
    return [Problem("data.fold", f"must be less than data.folds, {folds}", str(fold), remedy)]


def cut_fold(
    source_splits: Mapping[str, Split], folds: int, fold: int, seed: int, stratify: bool
) -> tuple[dict[str, Split], dict[str, Any]]:
    """Return a fold of the source's training and validation images as 'test', and the others as 'train'.

    The source's own test split is left out.

    Args:
        folds: number of folds.
        fold: the fold, from 0.
        seed: seed of the draw, unless the source has folds.
        stratify: give every fold the same share of each class.

    Returns:
        The splits, and `cross_validation` in data.json.

    Raises:
        UserError: if there are too few images or groups, or the source has another number of folds.
    """
    pool = join_splits([source_splits[name] for name in ("train", "val") if name in source_splits])
    facts: dict[str, Any] = {"fold": fold, "folds": folds, "images": len(pool), "names": _hash_names(pool)}
    if pool.folds is not None:
        names = sorted(set(pool.folds), key=natural_key)
        if problems := check_given_folds(names, folds):
            raise UserError("the data", problems)
        is_test = pool.folds == names[fold]
        facts["fold_name"] = names[fold]
    else:
        is_test = draw_folds(pool, folds, seed, stratify) == fold
    if "test" in source_splits:
        facts["unused_test_images"] = len(source_splits["test"])
    return {"train": pool.select(np.flatnonzero(~is_test)), "test": pool.select(np.flatnonzero(is_test))}, facts


def draw_folds(pool: Split, folds: int, seed: int, stratify: bool) -> np.ndarray:
    """Draw the fold of each image, (N,) int64; images of a group are in one fold.

    The result depends on the seed and the pool's order alone. Folds have equal sizes to within one image or, with
    groups, to within the largest group.

    Raises:
        UserError: if a fold would be empty.
    """
    random = np.random.RandomState(derive_seed(seed, "folds") % 2**32)
    if pool.groups is not None:
        fold_of_image = divide_groups(pool.groups, pool.labels, [1] * folds, random, stratify)
    else:
        sizes = [len(pool) // folds + (fold < len(pool) % folds) for fold in range(folds)]
        fold_of_image = np.empty(len(pool), dtype=np.int64)
        for fold, indices in enumerate(deal_images(pool.labels, sizes, random, stratify)):
            fold_of_image[indices] = fold
    if len(np.unique(fold_of_image)) < folds:
        count = f"{len(pool):,} images" if pool.groups is None else f"{len(set(pool.groups)):,} groups"
        rule = f"leaves folds without images: there are only {count} to divide"
        raise UserError("the data", [Problem("data.folds", rule, str(folds), "Use fewer folds.")])
    return fold_of_image


def check_given_folds(names: Sequence[str], folds: int) -> list[Problem]:
    """Return a problem if the source's own folds are not as many as `folds`."""
    if len(names) == folds:
        return []
    rule = f"differs from the number of folds in the data, {len(names)}: {join_names(names[:20])}"
    return [Problem("data.folds", rule, str(folds), f"Set data.folds={len(names)}." if len(names) > 1 else "")]


def join_splits(parts: Sequence[Split]) -> Split:
    """Return the images of several splits, in their order."""
    if len(parts) == 1:
        return parts[0]
    contents = [part.content for part in parts]
    rows = [content for content in contents if isinstance(content, ImageRows)]
    if not rows:
        content: ImageRows | np.ndarray = np.concatenate(contents)  # type: ignore[reportArgumentType]
    elif all(each.base is rows[0].base for each in rows):
        content = ImageRows(rows[0].base, torch.cat([each.indices for each in rows]))
    else:
        content = ImageRows(torch.cat([each.base[each.indices] for each in rows]))
    groups = [part.groups for part in parts if part.groups is not None]
    folds = [part.folds for part in parts if part.folds is not None]
    return Split(
        np.concatenate([part.names for part in parts]),
        np.concatenate([part.labels for part in parts]),
        content,
        np.concatenate(groups) if len(groups) == len(parts) else None,
        np.concatenate(folds) if len(folds) == len(parts) else None,
    )


def describe_fold(facts: Mapping[str, Any], test_size: int) -> str:
    """Describe the fold of a run in one sentence.

    Args:
        facts: `cross_validation` in data.json.
        test_size: images of the test split.
    """
    name = f" ({facts['fold_name']})" if "fold_name" in facts else ""
    text = f"{facts['fold']}{name} of {facts['folds']}: {test_size:,} of {facts['images']:,} images are the test split"
    if unused := facts.get("unused_test_images"):
        text += f"; the source's own test split ({unused:,} images) is not read"
    return text


def _hash_names(pool: Split) -> str:
    """Return a hash of the names and labels of all folds' images; all runs of one cross-validation have the same."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\0".join(pool.names).encode("utf-8", "surrogateescape"))
    digest.update(pool.labels.astype(np.int64).tobytes())
    return digest.hexdigest()
