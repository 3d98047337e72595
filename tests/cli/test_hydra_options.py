"""Options of Hydra answer in words, whatever stands beside them."""

import pytest
from conftest import Type


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--hydra-help", "model=mlp"), 0, "--cfg hydra"),
        (("--hydra-help", "nonsense", "=("), 0, "--cfg hydra"),
        (("--resolve", "model=mlp"), 2, "--resolve flag can only be used"),
        (("--cfg", "job", "--run"), 2, "Only one of --run"),
    ],
)
def test_an_option_of_hydra_is_answered(viewfinder: Type, words: tuple[str, ...], code: int, text: str) -> None:
    answer = viewfinder("train", *words)
    assert answer.code == code
    assert text in (answer.err if code else answer.out)
    assert "Traceback" not in answer.err
