"""The plots. matplotlib is imported inside."""

import statistics

OURS, THEIRS, TARGET, INK, FAINT = "#1f6f8b", "#c8693a", "#222222", "#222222", "#d9d9d9"
COLOURS = ("#1f6f8b", "#c8693a", "#5b8c3e", "#8a5aa3")


class Plots:
    """Draws into a folder; raises ImportError without matplotlib."""

    def __init__(self, folder):
        import matplotlib

        matplotlib.use("svg")
        matplotlib.rcParams.update({
            "svg.hashsalt": "fastrnn", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
            "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.edgecolor": "#888888",
            "text.color": INK, "figure.facecolor": "white", "axes.grid": True, "grid.color": "#ececec",
            "axes.axisbelow": True,
        })  # fmt: skip
        self.folder = folder

    def figure(self, columns=1, height=3.6):
        """A figure as wide as a README, and its axes in a list."""
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, columns, figsize=(8, height), squeeze=False, layout="constrained")
        return figure, list(axes[0])

    def save(self, figure, name):
        from matplotlib import pyplot

        self.folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.folder / name, metadata={"Date": None})
        pyplot.close(figure)

    def ratio_bars(self, name, title, rows):
        """Horizontal bars of ratios [(label, values, target)], the target a mark, the spread a line."""
        figure, (axis,) = self.figure(height=0.9 + 0.34 * len(rows))
        for place, (_, values, target) in enumerate(rows):
            middle = statistics.median(values)
            axis.barh(place, middle, 0.6, color=OURS if middle >= target else THEIRS)
            axis.plot([min(values), max(values)], [place, place], color=INK, linewidth=1)
            axis.plot([target, target], [place - 0.42, place + 0.42], color=TARGET, linewidth=2)
            end = max(*values, target)
            axis.annotate(f"{middle:.1f}×", (end, place), (5, 0), textcoords="offset points", va="center")
        axis.set_yticks(range(len(rows)), [label for label, _, _ in rows])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.12)
        axis.set_xlim(left=0)
        axis.set_title(title)
        axis.set_xlabel("times as fast (bar: median; thin line: lowest to highest; upright mark: the target)")
        self.save(figure, name)
