"""Kernels of 3 x 3 whole numbers; without NumPy, because the command line lists their names."""

KERNELS: dict[str, tuple[list[list[int]], int]] = {
    "vertical_edges": ([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], 1),
    "horizontal_edges": ([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], 1),
    "outline": ([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], 1),
    "sharpen": ([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], 1),
    "blur": ([[1, 2, 1], [2, 4, 2], [1, 2, 1]], 16),
}
"""Weights by name, each with the divisor of its result."""
