"""Where a network's first weights come from: a published name, a file, a folder of files, or another run."""

import contextlib
import copy
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import URLError

import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.runs.checkpoints import DamagedError, read_checkpoint, read_tensors
from viewfinder.runs.find import find_runs, latest
from viewfinder.runs.folder import RunFolder

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

PREFIX = "network."
"""Of a network's keys in a run's checkpoint, whose owner is the Classifier."""
PARALLEL = "module."
"""Of those of a network that was saved within torch's DataParallel."""
WRAPPED = ("state_dict", "model")
"""Where scripts of Lightning and of torchvision keep a state_dict, beside the optimizer's."""
SAVE = "Where the network was made, type torch.save(network.state_dict(), 'weights.pth'), and give that file."


class Weights(NamedTuple):
    state: dict[str, Any]
    """a state_dict"""
    model: Mapping[str, Any] | None = None
    """the `model` group of the run that they are of"""


class UnfitError(UserError):
    """Weights are not those of the network that they were given to."""


def read_weights(weights: str, published: "type[WeightsEnum] | None" = None) -> Weights:
    """What `model.weights` names.

    Args:
        weights: one of the published names; a file that torch.save wrote; a folder, such as TORCH_HOME, that holds the
            file of published.DEFAULT; or a run, of which the best weights are taken.
        published: names of weights that may be downloaded.

    Raises:
        UserError: if they cannot be had or read, or are no state_dict.
    """
    path = Path(weights)
    if published is not None and weights in published.__members__:
        path = _downloaded(weights, published[weights])
    elif path.is_dir():
        if RunFolder(path).config.is_file():
            return _of_run(path)
        path = _in_folder(path, published)
    elif not path.is_file():
        names = list(published.__members__) if published else []
        rule = "is neither a name of weights nor a file or a folder" if names else "is neither a file nor a folder"
        remedy = f"Names: {join_names(names)}." if names else "Give the folder of a run of the same network."
        if weights == "latest" and (runs := runs_in(Path("outputs"))):
            remedy = f"Give a folder; of the last run it is {latest(runs).path}."
        raise refused(weights, did_you_mean(weights, names) or rule, remedy)
    try:
        state = read_tensors(path)
    except (OSError, ValueError) as error:
        where = "" if str(path) == weights else f"{path} "
        remedy = "Get it again." if isinstance(error, DamagedError) else SAVE
        raise refused(weights, f"{where}cannot be read as weights: {error}", remedy) from error
    for name in WRAPPED:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not (isinstance(state, dict) and all(isinstance(key, str) for key in state)):
        raise refused(weights, f"holds a {type(state).__name__}, not a state_dict", SAVE)
    return Weights(_without_prefix(state))


def _downloaded(weights: str, member: "WeightsEnum") -> Path:
    """torchvision's own file, from TORCH_HOME or the network."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(member.url).name
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(member.url, str(path), path.stem.rpartition("-")[2])
        except (URLError, OSError, RuntimeError) as error:
            for folder in (path.parent, path.parents[1]):
                with contextlib.suppress(OSError):  # not empty
                    folder.rmdir()
            rule = f"cannot be downloaded: {getattr(error, 'reason', error)}"
            remedy = (
                f"Two ways out: download {member.url} where there is a network and put it at {path}, or give any file "
                "with such weights by model.weights=PATH."
            )
            raise refused(weights, rule, remedy) from error
    return path


def _in_folder(folder: Path, published: "type[WeightsEnum] | None") -> Path:
    """The file of the default weights in a folder of downloads, or in TORCH_HOME."""
    places = [folder, folder / "checkpoints", folder / "hub" / "checkpoints"]
    wanted = Path(published["DEFAULT"].url).name if published else ""
    for place in places if published else ():
        if (place / wanted).is_file():
            return place / wanted
    if runs := runs_in(folder):
        some = [*(str(run.path) for run in runs[:3]), *(["..."] if len(runs) > 3 else [])]
        raise refused(str(folder), "is no run", f"Runs within are {join_names(some)}: give one.")
    if published is None:
        raise refused(
            str(folder), "is no run folder", "A run folder looks like outputs/simple_cnn/2026-01-31_12-00-00."
        )
    others = [place / Path(m.url).name for m in published for place in places if (place / Path(m.url).name).is_file()]
    remedy = f"It holds {others[0]}: give that file." if others else f"Download {published['DEFAULT'].url} into it."
    raise refused(str(folder), f"is no run, and holds no {wanted}", remedy)


def _of_run(path: Path) -> Weights:
    """The best weights of a run, with its configuration of the network."""
    run = RunFolder.open(path)
    model = run.read_config().get("model")
    if not run.best.is_file():
        if run.last.is_file():
            rule, remedy = f"lacks its {run.best.name}", f"Give {run.last}, or take it from a copy of the run folder."
            raise refused(str(path), rule, remedy)
        rule = f"is a run without weights; its status is '{run.read_run().get('status', 'unknown')}'"
        raise refused(str(path), rule, "Give a run that has finished an epoch.")
    state = _without_prefix(read_checkpoint(run.best)["state_dict"])
    return Weights(state, model if isinstance(model, Mapping) else {})


def runs_in(folder: Path) -> list[RunFolder]:
    """Runs at or below a folder that have weights."""
    with contextlib.suppress(UserError):
        return [run for run in find_runs(folder) if run.best.is_file()]
    return []


def to_fit(weights: str, model: Mapping[str, Any], channels: int) -> str:
    """What to type for a network to be that of a run of the same kind; '' where that is not known.

    Args:
        model: the network's own configuration.
        channels: of its pictures.
    """
    path = Path(weights)
    run = RunFolder(path.parent if path.is_file() else path)
    if not run.is_begun():
        return ""
    theirs: Any = OmegaConf.to_container(run.read_config().model)
    before = run.read_data()["channels"]
    words = [f"data.channels={before}"] if before != channels else []
    for key, value in theirs.items():
        is_shape = isinstance(value, int | list) and not isinstance(value, bool)  # numbers of units, or of pixels
        if is_shape and key in model and model[key] != value:
            words.append(f"model.{key}={value}".replace(" ", ""))
    return f"As that run was: {shlex.join(words)}" if words else ""


def _without_prefix(state: dict[str, Any]) -> dict[str, Any]:
    """Of a Classifier's or a DataParallel's state_dict, the network's part; any other as it is."""
    if state and all(key.startswith(PARALLEL) for key in state):
        consume_prefix_in_state_dict_if_present(state, PARALLEL)
    if not any(key.startswith(PREFIX) for key in state):
        return state
    return {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}


def fill(
    network: nn.Module,
    state: Mapping[str, Any],
    weights: str,
    remedy: str,
    is_new: Callable[[str], bool] = lambda _: False,
) -> None:
    """Load a state_dict into a network.

    Args:
        weights: where it is from, for the error.
        is_new: whether what has this key is the network's own, and no part of the state_dict.

    Raises:
        UnfitError: naming keys that are missing, unknown or of another shape.
        UserError: naming one with values that are no numbers.
    """
    own = network.state_dict()
    reshaped = [key for key in own if key in state and getattr(state[key], "shape", None) != own[key].shape]
    fitting = copy.copy(state)  # with the versions of its modules, by which torch knows names that were others once
    for key in reshaped:
        del fitting[key]  # type: ignore[attr-defined]
    try:
        missing, unknown = network.load_state_dict(fitting, strict=False)
    except Exception as error:  # what a module itself refuses
        raise refused(weights, f"does not fit: {' '.join(str(error).split())[:300]}", remedy) from error
    missing = [key for key in missing if key not in reshaped and not is_new(key)]
    shapes = [f"{key}: {_shape(state[key])}, here {_shape(own[key])}" for key in reshaped]
    differences = [
        f"{len(names)} {what} ({join_names(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if differences:
        raise refused(weights, f"does not fit: {'; '.join(differences)}", remedy, UnfitError)
    for key, value in network.state_dict().items():
        if value.is_floating_point() and not is_new(key) and not value.isfinite().all():
            raise refused(weights, f"holds values that are no numbers, in {key}", "Take other weights.")


def _shape(value: Any) -> str:
    return "x".join(map(str, value.shape)) or "one number" if isinstance(value, torch.Tensor) else type(value).__name__


def refused(received: str | None, rule: str, remedy: str, kind: type[UserError] = UserError) -> UserError:
    return kind("the weights", [Problem("model.weights", rule, received, remedy)])
