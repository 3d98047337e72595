"""How the charts of several runs look alike."""

from matplotlib.axes import Axes

SPLITS = {"best_val": ("validation", "#1f5fbf", "o"), "best_test": ("test", "#d9822b", "s")}
"""An accuracy at the best epoch, by its column: name, colour and marker."""
SOFT = "#5c6675"


def finish(axes: Axes) -> None:
    """Grid and frame."""
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
