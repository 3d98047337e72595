"""Initial weights of a network: from a published name, a file, a folder of downloads, or a run."""

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import URLError

import torch

from viewfinder.errors import UserError, did_you_mean, join_names
from viewfinder.models.state_dict import invalid_weights, strip_prefix
from viewfinder.runs.checkpoints import SAFETENSORS, DamagedError, read_checkpoint, read_safetensors, read_tensors
from viewfinder.runs.find import find_latest, find_runs
from viewfinder.runs.folder import RunFolder

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

WRAPPER_KEYS = ("state_dict", "model")
"""Keys under which checkpoints of Lightning and of torchvision's scripts hold the state_dict."""
SAVE_REMEDY = "Save the weights with torch.save(network.state_dict(), 'weights.pth') and pass that file."


class Weights(NamedTuple):
    """A state_dict, and for weights of a run the `model` group of its configuration."""

    state: dict[str, Any]
    model: Mapping[str, Any] | None = None


def read_weights(weights: str, published: "type[WeightsEnum] | None" = None) -> Weights:
    """Read the weights that `model.weights` names.

    Args:
        weights: a published name; a file written by torch.save; a folder that contains the file of published.DEFAULT,
            such as TORCH_HOME; or a run, whose best weights are read.
        published: torchvision's published weights of the network, downloaded on demand.

    Raises:
        UserError: if the weights are missing, unreadable or not a state_dict.
    """
    path = Path(weights)
    if published is not None and weights in published.__members__:
        path = download(weights, published[weights].url)
    elif path.is_dir():
        if RunFolder(path).config.is_file():
            return _read_run(path)
        path = _find_in_folder(path, published)
    elif not path.is_file():
        raise _missing(weights, list(published.__members__) if published else [])
    try:
        state = read_safetensors(path) if path.suffix == SAFETENSORS else read_tensors(path)
    except (OSError, ValueError) as error:
        location = "" if str(path) == weights else f"{path} "
        remedy = "Download or copy it again." if isinstance(error, DamagedError) else SAVE_REMEDY
        raise invalid_weights(weights, f"{location}cannot be read as weights: {error}", remedy) from error
    for key in WRAPPER_KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not (isinstance(state, dict) and all(isinstance(key, str) for key in state)):
        raise invalid_weights(weights, f"contains a {type(state).__name__}; expected a state_dict", SAVE_REMEDY)
    return Weights(strip_prefix(state))


def find_trained_runs(folder: Path) -> list[RunFolder]:
    """Return the runs at or below a folder that have a best checkpoint."""
    with contextlib.suppress(UserError):
        return [run for run in find_runs(folder) if run.best.is_file()]
    return []


def suggest_overrides(weights: str, model: Mapping[str, Any], channels: int) -> str:
    """Suggest overrides that make a network match the network of a run; '' if no override helps.

    Args:
        weights: the run's folder, or a file in it.
        model: the `model` group of the configuration.
        channels: channels of the network's images.
    """
    path = Path(weights)
    run = RunFolder(path.parent if path.is_file() else path)
    if not run.has_started():
        return ""
    stored_channels = run.read_data()["channels"]
    overrides = [f"data.channels={stored_channels}"] if stored_channels != channels else []
    for key, value in run.read_settings()["model"].items():
        is_number = isinstance(value, int) and not isinstance(value, bool)
        is_shape = is_number or (isinstance(value, Sequence) and not isinstance(value, str))
        if is_shape and key in model and model[key] != value:
            overrides.append(f"model.{key}={value}".replace(" ", ""))
    return f"To match that run, add {shlex.join(overrides)}" if overrides else ""


def download(weights: str, url: str) -> Path:
    """Return a published file, from TORCH_HOME or downloaded into it.

    Args:
        weights: published name, for errors.
        url: address of the file; its name ends in the beginning of its hash.

    Raises:
        UserError: if it cannot be downloaded.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if path.parts[0].startswith("~"):  # torch would create a folder of this name
        rule = "cannot be downloaded, because this user has no home folder"
        raise invalid_weights(weights, rule, "Set TORCH_HOME to a folder for downloads, or pass a file of weights.")
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2])
        except (URLError, OSError, RuntimeError) as error:
            for folder in (path.parent, path.parents[1]):
                with contextlib.suppress(OSError):  # not empty
                    folder.rmdir()
            rule = f"cannot be downloaded: {getattr(error, 'reason', error)}"
            remedy = (
                f"Download {url} on a machine with network access and save it as {path}, or pass any file with "
                "these weights as model.weights=PATH."
            )
            raise invalid_weights(weights, rule, remedy) from error
    return path


def _find_in_folder(folder: Path, published: "type[WeightsEnum] | None") -> Path:
    """Return the file of the default weights in a folder of downloads, or in TORCH_HOME."""
    if published is None:
        raise _not_a_run(folder, "A run folder looks like outputs/simple_cnn/2026-01-31_12-00-00.")
    folders = [folder, folder / "checkpoints", folder / "hub" / "checkpoints"]
    candidates = [place / Path(member.url).name for member in published for place in folders]
    expected = Path(published["DEFAULT"].url).name
    existing = [file for file in candidates if file.is_file()]
    for file in existing:
        if file.name == expected:
            return file
    remedy = f"It contains {existing[0]}; pass that file." if existing else ""
    raise _not_a_run(folder, remedy or f"Download {published['DEFAULT'].url} into it.", expected)


def _not_a_run(folder: Path, remedy: str, expected: str = "") -> UserError:
    """Return a UserError for a folder without weights, naming runs below it if there are any."""
    if runs := find_trained_runs(folder):
        names = [*(str(run.path) for run in runs[:3]), *(["..."] if len(runs) > 3 else [])]
        return invalid_weights(str(folder), "is not a run folder", f"Pass one of the runs in it: {join_names(names)}.")
    rule = f"is not a run folder and does not contain {expected}" if expected else "is not a run folder"
    return invalid_weights(str(folder), rule, remedy)


def _read_run(path: Path) -> Weights:
    """Return the best weights of a run and its `model` group."""
    run = RunFolder.open(path)
    model = run.read_settings().get("model")
    if not run.best.is_file():
        if run.last.is_file():
            remedy = f"Pass {run.last}, or restore {run.best.name} from a copy of the run folder."
            raise invalid_weights(str(path), f"has no {run.best.name}", remedy)
        rule = f"is a run without weights (status: {run.read_run().get('status', 'unknown')})"
        raise invalid_weights(str(path), rule, "Pass a run that has finished an epoch.")
    state = strip_prefix(read_checkpoint(run.best)["state_dict"])
    return Weights(state, model if isinstance(model, Mapping) else {})


def _missing(weights: str, names: list[str]) -> UserError:
    rule = "is not a published name, a file or a folder" if names else "is not a file or a folder"
    remedy = f"Published names: {join_names(names)}." if names else "Pass the folder of a run of the same network."
    if weights == "latest" and (runs := find_trained_runs(Path("outputs"))):
        remedy = f"Pass a run folder, for example {find_latest(runs).path} (the latest)."
    return invalid_weights(weights, did_you_mean(weights, names) or rule, remedy)
