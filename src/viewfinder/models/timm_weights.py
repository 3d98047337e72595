"""Weights that timm publishes: found in the cache of Hugging Face, or downloaded into it."""

from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from viewfinder.models.state_dict import invalid_weights
from viewfinder.models.timm_backbone import import_timm
from viewfinder.models.weights import download

DEFAULT = "DEFAULT"
FILES = ("model.safetensors", "pytorch_model.bin")
"""Usual names of the file of weights on Hugging Face; timm prefers the first."""
TIMEOUT = 5.0
"""Seconds to wait for an answer before a download; huggingface_hub alone tries five times, for 47 s."""


def find_weights_file(weights: str, published: Any) -> str:
    """Return the path that `model.weights` of a timm network names; download DEFAULT if it is not in the cache.

    Args:
        weights: DEFAULT, or a path, which is returned as it is, or as the file of weights in a downloaded folder.
        published: a timm.models.PretrainedCfg.

    Raises:
        UserError: if timm publishes no weights for the network, or they cannot be downloaded.
    """
    name = ".".join(filter(None, (published.architecture, published.tag)))
    if weights == DEFAULT:
        return str(_find_published_file(name, published))
    if not Path(weights).exists() and f"{published.architecture}.{weights}" in _list_tagged(published):
        remedy = f"Set model.name={published.architecture}.{weights} model.weights={DEFAULT}."
        raise invalid_weights(weights, "is a tag of timm, which belongs to the name", remedy)
    files = [Path(weights) / file for file in FILES]
    return next((str(file) for file in files if file.is_file()), weights)


def _list_tagged(published: Any) -> list[str]:
    return import_timm().list_models(f"{published.architecture}.*", include_tags=True)


def _find_published_file(name: str, published: Any) -> Path:
    if published.hf_hub_id:
        return _find_on_hub(name, published)
    if isinstance(published.url, str) and published.url:
        return download(DEFAULT, published.url)
    others = import_timm().list_models(f"{published.architecture}.*", pretrained=True)
    remedy = f"Set model.name={others[0]}" if others else "Set model.weights=null for random weights"
    raise invalid_weights(DEFAULT, f"timm publishes no weights of {name}", f"{remedy}, or pass a file or run.")


def _find_on_hub(name: str, published: Any) -> Path:
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, _, revision = published.hf_hub_id.partition("@")
    first, *others = files = _list_files(published)
    place: dict[str, Any] = {"repo_id": repository, "revision": revision or None}
    for file in files:
        if isinstance(path := try_to_load_from_cache(filename=file, **place), str):
            return Path(path)
    try:
        if reason := _why_unreachable():
            raise ConnectionError(reason)
        try:
            return Path(hf_hub_download(filename=first, **place))
        except LocalEntryNotFoundError:  # raised for a failed connection
            raise
        except EntryNotFoundError:
            if not others:
                raise
            return Path(hf_hub_download(filename=others[0], **place))
    except Exception as error:  # huggingface_hub and its HTTP library raise a dozen classes
        rule = f"the weights of {name} cannot be downloaded: {str(error).strip().partition(chr(10))[0]}"
        remedy = (
            f"Download {hf_hub_url(filename=first, **place)} on a machine with network access and pass the file as "
            "model.weights=FILE, or set model.weights=null for random weights."
        )
        raise invalid_weights(DEFAULT, rule, remedy) from error


def _list_files(published: Any) -> tuple[str, ...]:
    """Return the names that a file of weights may have on Hugging Face, the preferred one first, as timm does."""
    named = published.hf_hub_filename
    if not named:
        return FILES
    return (named.removesuffix(".bin") + ".safetensors", named) if named.endswith(".bin") else (named,)


def _why_unreachable() -> str:
    """Return why Hugging Face does not answer within TIMEOUT seconds, or ''."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=TIMEOUT):
            return ""
    except HTTPError:
        return ""  # it answers
    except (URLError, OSError) as error:
        return f"{constants.ENDPOINT}: {getattr(error, 'reason', error)}"
