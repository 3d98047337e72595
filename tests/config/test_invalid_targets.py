"""A `_target_` that cannot be imported, constructed or trained is rejected with its cause."""

from pathlib import Path

import pytest
from command_lines import QUICK, expect_error

BROKEN = {
    "no_such_module.Net": "module no_such_module not found",
    "my_syntax.Net": "my_syntax.py, line 1",
    "my_import.Net": "No module named 'no_such_thing'",
    "my_nets.Missing": "my_nets has no Missing",
    "my_nets.Neat": "Did you mean Net?",
    "my_nets.Refusing": "the flux ran dry",
    "my_nets.Failing": "ZeroDivisionError",
    "my_nets.NotAModule": "not a torch.nn.Module",
    "my_nets.Mute": "has no attribute `preprocess` that is a Preprocess",
    "my_nets.number": "neither a class nor a function",
    "my_nets.Wide": "returns (1, 11) for one image; expected (1, 10), one logit per class",
    "my_nets.Flat": "fails on an image of 1 x 32 x 32: RuntimeError",
}
NETS = """
from torch import nn
from viewfinder.data.preprocess import Preprocess

number = 5

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()

class Refusing(Net):
    def __init__(self, channels, classes):
        raise ValueError("the flux ran dry")

class Failing(Net):
    def __init__(self, channels, classes):
        1 / 0

class NotAModule:
    def __init__(self, channels, classes):
        pass

class Mute(Net):
    pass

class Wide(Net):
    extra = 1

    def __init__(self, channels, classes):
        super().__init__(channels, classes)
        self.preprocess = Preprocess(32)
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(classes + self.extra))

    def forward(self, images):
        return self.layers(images)

class Flat(Wide):
    extra = 0

    def forward(self, images):
        return self.layers(images.view(7))
"""


@pytest.mark.parametrize(("target", "cause"), BROKEN.items(), ids=BROKEN)
def test_an_unusable_class_shows_the_cause(target: str, cause: str, working_folder: Path) -> None:
    (working_folder / "my_syntax.py").write_text("class Net(:")
    (working_folder / "my_import.py").write_text("import no_such_thing")
    (working_folder / "my_nets.py").write_text(NETS)
    (working_folder / "conf" / "model").mkdir(parents=True)
    (working_folder / "conf" / "model" / "mine.yaml").write_text(f"_target_: {target}")
    assert cause in " ".join(str(expect_error(*QUICK, "model=mine")).split())
