"""Features of a frozen backbone: computed once, kept, found again, and never those of anything else."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch
from conftest import QUICK, Type
from PIL import Image
from torch import Tensor, nn

from viewfinder.config.overrides import compose_config
from viewfinder.data.preprocess import Preprocess
from viewfinder.experiment.build import build_components
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.models.transfer import Transferable
from viewfinder.runs.cache_dir import cache_folder
from viewfinder.runs.folder import RunFolder
from viewfinder.training.features import extract as passing
from viewfinder.training.features import store
from viewfinder.training.features.extract import FeatureExtractor
from viewfinder.training.features.store import FeatureStore

PICTURES = {"train": 30, "val": 6, "test": 15}
ALL = sum(PICTURES.values())
MINE = "allow=test_features"


class Frozen(Transferable):
    """A convolution with batch norm, frozen, and a head with dropout."""

    def __init__(
        self,
        channels: int,
        classes: int,
        image_size: int = 8,
        mean: float = 0.5,
        std: float = 0.25,
        weights: int = 1,
        cache_features: bool = True,
        is_bent: bool = False,
        power: int = 1,
        is_looked_at: bool = False,
    ):
        super().__init__()
        self.preprocess = Preprocess(image_size, [mean] * 3, [std] * 3)
        generator = torch.Generator().manual_seed(weights)
        norm = nn.BatchNorm2d(6)
        for tensor in (norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.uniform_(0.5, 2, generator=generator)
        layers = (nn.Conv2d(channels, 6, 3, bias=False), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.backbone = nn.Sequential(*layers)
        self.backbone[0].weight.data.normal_(generator=generator)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, classes))
        self.cache_features, self.is_bent = cache_features, is_bent
        self.power, self.is_looked_at = power, is_looked_at
        self.head_name = "head"
        self.freeze_except(["head"])

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.backbone(pictures) ** self.power
        if self.is_looked_at:
            features = features.to(self.head[1].weight.dtype)
        logits = self.head(features)
        return logits * 2 if self.is_bent else logits


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pass of several blocks."""
    monkeypatch.setitem(passing.BATCH, "cpu", 8)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "features"


Run = Callable[..., RunFolder]


@pytest.fixture
def run(pictures: Path, tmp_path: Path) -> Run:
    """Train a Frozen: run("name", "key=value", ..., image_size=16)."""

    def train(name: str, *words: str, root: Path = pictures, **model: Any) -> RunFolder:
        typed = ["data=image_folder", f"data.root={root}", "data.batch_size=8", *QUICK, *words]
        typed += [f"run_dir={tmp_path / name}"]
        cfg = compose_config(typed)
        cfg.model = {"_target_": "test_features.Frozen", "image_size": 8, **model}
        cfg.optimizer.lr = 0.01
        run_experiment(cfg, overrides=typed)
        return RunFolder.open(tmp_path / name)

    return train


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures went through a convolution, call by call; single ones try the network."""
    counts: list[int] = []
    forward = nn.Conv2d.forward

    def counted(self: nn.Conv2d, pictures: Tensor) -> Tensor:
        if len(pictures) > 1:
            counts.append(len(pictures))
        return forward(self, pictures)

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    return counts


def features_of(run: RunFolder) -> dict[str, Any]:
    return run.read_run()["features"]


def said(run: RunFolder) -> str:
    lines = run.log.read_text().splitlines()
    return " ".join(word for line in lines for word in line.partition("  ")[2].split())  # after the time


def weights_of(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def assert_same(run: RunFolder, other: RunFolder) -> None:
    """Bit for bit."""
    for name in ("metrics.csv", "predictions.csv", "scores.json"):
        assert (run.path / name).read_bytes() == (other.path / name).read_bytes(), name
    ours, theirs = weights_of(run.last), weights_of(other.last)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# The same training


def test_on_kept_features_a_head_is_trained_as_with_the_pictures(run: Run) -> None:
    cached, plain = run("cached"), run("plain", cache_features=False)
    assert features_of(cached)["computed"] == ALL
    assert plain.read_run()["features"] is None
    ours, theirs = (pd.read_csv(each.metrics) for each in (cached, plain))
    assert len(ours) == 2
    pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=1e-5)
    ours, theirs = (pd.read_csv(each.predictions) for each in (cached, plain))
    pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=1e-5)
    mine, whole = weights_of(cached.best), weights_of(plain.best)
    assert list(mine) == list(whole)
    assert all(torch.equal(mine[name], whole[name]) for name in whole if ".backbone." in name)
    assert sorted(path.name for path in cached.path.iterdir() if "tfevents" not in path.name) == sorted(
        path.name for path in plain.path.iterdir() if "tfevents" not in path.name
    )


def test_a_second_run_finds_the_features_and_ends_with_the_same_bits(run: Run, through: list[int]) -> None:
    first = run("first")
    assert sum(through) == ALL
    through.clear()
    second = run("second", "trainer.max_epochs=2")
    assert through == []
    assert (features_of(second)["computed"], features_of(second)["found"]) == (0, ALL)
    assert f"24 per image: {ALL} images cached; in " in said(second)
    assert_same(second, first)


def test_features_of_a_resnet50_are_those_of_its_backbone(pictures: Path, resnet_weights: Path) -> None:
    words = ["model=resnet50", f"model.weights={resnet_weights}", "model.image_size=32"]
    parts = build_components(compose_config([*words, "data=image_folder", f"data.root={pictures}", *QUICK]))
    network: Any = parts.classifier.network
    probe = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    backbone = FeatureExtractor(network, probe, torch.device("cpu"))
    blocks = []
    for block in backbone.extract(parts.data, "test", skip=1):
        assert torch.is_grad_enabled()  # for whoever takes it
        blocks.append(block)
    rows = torch.cat(blocks)
    with torch.no_grad():
        expected = network.backbone(network.preprocess(parts.data.images["test"].pixels))[backbone.batch :]
    assert rows.shape == (15 - 8, 2048)
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-4)
    # Of its 53 convolutions each has taken up the batch norm after it.
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.module.modules())
    # One that inference_mode had made would be refused by its layer once it is on a GPU.
    assert not any(value.is_inference() for value in backbone.module.state_dict().values())


def test_evaluate_scores_a_run_on_kept_features_as_the_run_did(run: Run, viewfinder: Type) -> None:
    answer = viewfinder("evaluate", run("run").path, MINE)
    assert answer.code == 0, answer.err
    assert "Equal to scores.json." in answer.out


# Whatever they depend on


def test_features_of_another_network_preprocessing_or_thread_count_are_computed(run: Run) -> None:
    short = "trainer.max_epochs=1"
    run("first", short)
    for number, other in enumerate(({"weights": 2}, {"mean": 0.4}, {"std": 0.3}, {"image_size": 9}, {"power": 2})):
        assert features_of(run(f"run{number}", short, **other))["computed"] == ALL, other
    assert features_of(run("threads", short, "trainer.threads=2"))["computed"] == ALL
    assert features_of(run("seed", short, "seed=7"))["computed"] == 0


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_a_split_in_which_one_pixel_has_changed_is_computed_again(
    run: Run, pictures: Path, tmp_path: Path, storage: str
) -> None:
    root = Path(shutil.copytree(pictures, tmp_path / "copy"))
    file = next(iter(sorted((root / "val" / "owl").iterdir()))).with_name("00.bmp")
    Image.new("RGB", (8, 8), "grey").save(file)
    words = [f"data.storage={storage}", "data.workers=1"]
    run("first", *words, root=root)
    picture = Image.open(file)
    picture.putpixel((3, 4), (128, 128, 127))
    size = file.stat().st_size
    picture.save(file)
    assert file.stat().st_size == size
    assert features_of(run("second", *words, root=root))["computed"] == PICTURES["val"] + 1


def test_features_are_computed_every_epoch_where_pictures_are_augmented_and_that_is_said(run: Run, cache: Path) -> None:
    augmented = run("run", "augment=basic", "augment.padding=1")
    assert "features are not cached: augment (Basic) changes the images every epoch" in said(augmented)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"is_bent": True}, "its logits differ from its head"),
        ({"is_looked_at": True}, "TypeError: 'Identity' object is not subscriptable"),
    ],
)
def test_a_network_that_is_not_its_head_on_its_backbone_is_trained_the_plain_way(
    run: Run, cache: Path, other: dict[str, Any], why: str
) -> None:
    plain, whole = run("run", **other), run("whole", cache_features=False, **other)
    assert f"Frozen cannot be split into backbone and head: {why}" in said(plain)
    assert not cache.exists()
    assert_same(plain, whole)  # of which dropout is a part


# Whatever happens to them


def cut(rows: Path, index: Path) -> None:
    rows.write_bytes(rows.read_bytes()[:-1])


def flip(rows: Path, index: Path) -> None:
    content = bytearray(rows.read_bytes())
    content[-5] ^= 4
    rows.write_bytes(content)


def reshape(rows: Path, index: Path) -> None:
    head, *lines = index.read_text().splitlines()
    index.write_text("\n".join([json.dumps(json.loads(head) | {"shape": [30, 23]}), *lines, ""]))


def scribble(rows: Path, index: Path) -> None:
    index.write_bytes(b"\xff\x00" * 30)


def blot(rows: Path, index: Path) -> None:
    index.write_text("{" + index.read_text())


def smudge(rows: Path, index: Path) -> None:
    *lines, last = index.read_text().splitlines()
    index.write_text("\n".join([*lines, "x" + last, ""]))


SAID = {
    cut: "checksum mismatch", flip: "checksum mismatch", reshape: "shape differs",
    scribble: "damaged: unreadable index", blot: "damaged: unreadable index",
    smudge: "damaged after 24 images (unreadable line of the index)",
}  # fmt: skip


@pytest.mark.parametrize("damage", SAID)
def test_damaged_features_are_computed_again_and_that_is_said(
    run: Run, cache: Path, damage: Callable[[Path, Path], None]
) -> None:
    first = run("first")
    written = {path: path.read_bytes() for path in cache.glob("*.rows")}
    rows = max(written, key=lambda path: len(written[path]))
    damage(rows, rows.with_suffix(".blocks"))
    second = run("second")
    # Of 30 pictures the last block holds 6.
    assert features_of(second)["computed"] == (6 if damage in (cut, flip, smudge) else PICTURES["train"])
    assert said(second).count(" are computed again: ") == 1
    about = said(second).partition("features of the train split are computed again: the cached file is ")[2]
    assert SAID[damage] in about.partition(" features ")[0]
    assert {path: path.read_bytes() for path in cache.glob("*.rows")} == written
    assert_same(second, first)


def test_where_no_file_can_be_had_features_are_in_memory_for_the_run_and_that_is_said(run: Run, cache: Path) -> None:
    whole = run("whole")
    shutil.rmtree(cache)
    cache.write_text("a file, where the folder is to be")
    second = run("second")
    assert features_of(second)["computed"] == ALL
    assert f"in memory, for this run only: {cache}: is a file, not a folder" in said(second)
    assert_same(second, whole)


def test_where_the_disk_becomes_full_features_are_in_memory_for_the_run_and_leave_nothing(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("whole")
    shutil.rmtree(cache)
    write, blocks = store._write, []

    def until_full(file: Any, content: bytes) -> None:
        blocks.append(content)
        if len(blocks) > 5:  # in the third block
            file.write(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, content)

    monkeypatch.setattr(store, "_write", until_full)
    second = run("second")
    assert "No space left on device" in said(second)
    assert "in memory, for this run only" in said(second)
    assert not list(cache.glob("*.rows"))
    assert_same(second, whole)


def test_where_neither_disk_nor_memory_has_room_pictures_go_through_the_whole_network(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("")
    monkeypatch.setattr(store, "free_memory", lambda: 100)
    assert psutil.virtual_memory().available > 100
    plain = run("run")
    assert plain.status == "finished"
    assert "features are not cached: neither disk nor memory has room for them" in said(plain)


class Killed(BaseException):
    pass


def test_killed_within_the_pass_a_run_is_resumed_from_what_is_kept_and_ends_with_the_same_bits(
    run: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("whole", "trainer.checkpoint_every=2")
    shutil.rmtree(cache)
    append, count = FeatureStore.append, []

    def until_killed(self: FeatureStore, rows: Tensor) -> None:
        count.append(len(rows))
        if len(count) == 3:  # as a process would that is killed within the write
            self.files[0].write(rows.numpy().tobytes()[:100])
            raise Killed
        append(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "append", until_killed)
        with pytest.raises(Killed):
            run("killed", "trainer.checkpoint_every=2")
    killed = RunFolder.open(tmp_path / "killed")
    assert "16 of 30 are saved" in said(killed)
    resume_experiment(killed, [MINE])
    assert features_of(killed)["computed"] == ALL - 16
    assert_same(killed, whole)


def test_killed_within_an_epoch_a_run_is_resumed_on_the_same_features_and_ends_with_the_same_bits(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("whole", "trainer.checkpoint_every=2")
    step, count = torch.optim.Adam.step, []

    def until_killed(self: torch.optim.Adam, *args: Any) -> Any:
        count.append(0)
        if len(count) == 7:  # of 4 an epoch
            raise Killed
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", until_killed)
        with pytest.raises(Killed):
            run("killed", "trainer.checkpoint_every=2")
    killed = RunFolder.open(tmp_path / "killed")
    resume_experiment(killed, [MINE])
    assert features_of(killed)["computed"] == 0
    assert_same(killed, whole)
