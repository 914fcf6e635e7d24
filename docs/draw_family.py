"""Draw the picture of the README: published accuracy against the cost that effnet counts.

Run `python docs/draw_family.py` to write docs/family.png anew.
"""

from pathlib import Path

from matplotlib.figure import Figure

from effnet.measure.counts import count
from effnet.nets.scaling import variant_spec
from effnet.nets.variants import VARIANTS

LINES = {
    "EfficientNet (2019)": ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"),
    "EfficientNetV2 B (2021)": ("v2-b0", "v2-b1", "v2-b2", "v2-b3"),
    "EfficientNetV2 (2021)": ("v2-s", "v2-m", "v2-l"),
    "Lite": ("lite0", "lite1", "lite2", "lite3", "lite4"),
    "EdgeTPU": ("edge-s", "edge-m", "edge-l"),
    "CondConv": ("cc-b0-4e", "cc-b0-8e", "cc-b1-8e"),
}
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#3ca951", "#9467bd", "#6cc5b0")
BELOW = (6, -10)
ABOVE_LEFT = (-8, 6)
SHIFTS = {
    **dict.fromkeys(("b0", "b1", "cc-b0-4e", "cc-b0-8e", "cc-b1-8e"), ABOVE_LEFT),
    **dict.fromkeys(LINES["EfficientNetV2 (2021)"], ABOVE_LEFT),
    "lite3": (14, -12),
}


def draw(path: Path) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for (name, variants), colour in zip(LINES.items(), COLOURS, strict=True):
        costs = [count(variant_spec(variant)).macs / 1e9 for variant in variants]
        accuracies = [VARIANTS[variant].top1 for variant in variants]
        axes.plot(costs, accuracies, "o-", color=colour, label=name, markersize=5)
        for variant, cost, accuracy in zip(variants, costs, accuracies, strict=True):
            axes.annotate(
                variant,
                (cost, accuracy),
                SHIFTS.get(variant, BELOW),
                textcoords="offset points",
                ha="right" if SHIFTS.get(variant) == ABOVE_LEFT else "left",
                color=colour,
                fontsize=8,
            )
    axes.set(
        xscale="log",
        xlim=(0.25, 80),
        xlabel="multiply-adds for one picture, in billions (counted by effnet)",
        ylabel="published ImageNet top-1 accuracy, percent",
    )
    axes.set_xticks([0.4, 1, 2, 4, 10, 20, 40], ["0.4", "1", "2", "4", "10", "20", "40"])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    draw(Path(__file__).with_name("family.png"))
