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
            axis.barh(place, middle, 0.6, color=OURS if middle >= (target or 1) else THEIRS)
            axis.plot([min(values), max(values)], [place, place], color=INK, linewidth=1)
            if target is not None:
                axis.plot([target, target], [place - 0.42, place + 0.42], color=TARGET, linewidth=2)
            end = max(values) if target is None else max(*values, target)
            axis.annotate(f"{middle:.1f}×", (end, place), (5, 0), textcoords="offset points", va="center")
        axis.set_yticks(range(len(rows)), [label for label, _, _ in rows])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.12)
        axis.set_xlim(left=0)
        axis.set_title(title)
        axis.set_xlabel("times as fast (bar: median; thin line: lowest to highest; upright mark: the target)")
        self.save(figure, name)

    def growth(self, name, title, panels):
        """Log-log curves [(what grows, [(label, sizes, values, exponent)], largest exponent)], one panel each."""
        figure, axes = self.figure(columns=len(panels), height=3.4)
        for axis, (what, curves, allowed) in zip(axes, panels, strict=True):
            for (label, sizes, values, slope), colour in zip(curves, COLOURS, strict=False):
                axis.loglog(sizes, values, "o-", color=colour, markersize=4)
                text = f"{label}, exponent {slope:.2f}"
                axis.annotate(text, (sizes[0], values[0]), (0, 9), textcoords="offset points", color=colour, fontsize=9)
            if curves and allowed:
                _, sizes, values, _ = curves[-1]
                allowed_values = [values[-1] * (size / sizes[-1]) ** allowed for size in (sizes[-2], sizes[-1])]
                axis.plot(sizes[-2:], allowed_values, "--", color="#888888", linewidth=1)
            axis.set_xlabel(what)
            axis.margins(y=0.25)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        self.save(figure, name)

    def memory_bars(self, name, title, rows):
        """Pairs of bars [(label, our sizes, PyTorch's or None)] of peaks; the part of the imports paler."""
        figure, (axis,) = self.figure(height=1.0 + 0.42 * len(rows))
        for place, (_, *both) in enumerate(rows):
            for shift, sizes, colour in zip((-0.2, 0.2), both, (OURS, THEIRS), strict=True):
                if sizes is not None:
                    axis.barh(place + shift, sizes["peak"], 0.36, color=colour)
                    axis.barh(place + shift, sizes["imports"], 0.36, color="white", alpha=0.45)
                    text = f"{sizes['peak']:.0f}"
                    axis.annotate(text, (sizes["peak"], place + shift), (4, 0), textcoords="offset points", va="center",
                                  fontsize=8)  # fmt: skip
        axis.set_yticks(range(len(rows)), [label for label, *_ in rows])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.1)
        axis.set_title(title)
        axis.set_xlabel("upper bar: fastrnn, lower bar: PyTorch; paler part: what the imports alone take")
        self.save(figure, name)

    def curves(self, name, title, panels, after):
        """Perplexity against seconds, a panel for each corpus: {corpus: [{who: [{"seconds", "perplexity"}]}]}.

        A dotted line marks PyTorch's perplexity after so many epochs.
        """
        figure, axes = self.figure(columns=len(panels), height=3.4)
        for axis, (corpus, runs) in zip(axes, panels.items(), strict=True):
            for run in runs:
                for (who, curve), colour in zip(run.items(), (OURS, THEIRS), strict=False):
                    points = [(at["seconds"], at["perplexity"]) for at in curve]
                    axis.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4)
                    if run is runs[0]:
                        axis.annotate(who, points[0], (7, 3), textcoords="offset points", color=colour)
                if "PyTorch" in run:
                    axis.axhline(run["PyTorch"][after - 1]["perplexity"], color="#888888", linewidth=1, linestyle=":")
            axis.set_xlim(left=0)
            axis.set_title(corpus)
            axis.set_xlabel("seconds of training")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        self.save(figure, name)
