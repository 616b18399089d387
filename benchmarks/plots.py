"""Figures as bars beside their budgets, as SVG. By matplotlib, which the example of the flights draws with, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import many
from benchmarks.measuring import Figure

__all__ = ["budgets", "draw", "pyplot"]

MET, OVER, BUDGET = "#4c8c4a", "#c1543c", "#444444"


def draw(tables: Mapping[str, Sequence[Figure]], folder: Path) -> list[Path]:
    """Draw what there is to be drawn into a folder, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with_budget = [
        figure
        for name, figures in tables.items()
        if name != "clusters"  # those are multiples of bare calls there
        for figure in figures
        if figure.verdict
    ]
    if with_budget:
        drawn.append(folder / "budgets.svg")
        budgets(with_budget, drawn[-1])
    if "many" in tables:
        drawn.append(folder / "many.svg")
        many.plot(tables["many"], pyplot(), drawn[-1])
    return drawn


def pyplot() -> Any:
    """The module that draws, set up so that equal figures give equal files."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "mainspring", "svg.fonttype": "none", "font.size": 9})
    return plt


def budgets(figures: Sequence[Figure], path: Path) -> None:
    """Draw a bar for each figure, as long as the part of its budget that it takes, and a line where budgets end."""
    plt = pyplot()
    places = range(len(figures))
    parts = [(figure.multiple or 0.0) / (figure.budget or 1.0) for figure in figures]
    size = (9, 0.9 + 0.27 * len(figures))
    canvas, axes = plt.subplots(figsize=size, layout="constrained")
    colours = [MET if figure.verdict == "met" else OVER for figure in figures]
    axes.barh(places, parts, height=0.62, color=colours)
    axes.axvline(1, color=BUDGET, linewidth=1.5)
    for place, part, figure in zip(places, parts, figures, strict=True):
        axes.annotate(
            f"{figure.multiple:.1f} of {figure.budget:g}",
            (max(part, 1), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set(
        yticks=places,
        yticklabels=[figure.path for figure in figures],
        xlabel="parts of the budget; beside each bar, the multiple and its budget",
        xlim=(0, 1.15 * max(1.2, *parts)),
    )
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    canvas.savefig(path, format="svg", metadata={"Date": None})
    plt.close(canvas)
