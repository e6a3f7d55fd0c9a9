"""The plots. matplotlib is imported inside."""

import statistics

from .measure import BFLOAT16

OURS, OTHER, THEIRS, INK = "#1f6f8b", "#5b8c3e", "#c8693a", "#222222"
COLOURS = {"rnn": "#5b8c3e", "lstm": OURS, "gru": "#8a5aa3"}


class Plots:
    """Draws into a folder; raises ImportError without matplotlib."""

    def __init__(self, folder):
        import matplotlib

        matplotlib.use("svg")
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "fastrnn",
                "font.size": 10,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.titlesize": 11,
                "axes.titleweight": "bold",
                "axes.titlelocation": "left",
                "axes.edgecolor": "#888888",
                "text.color": INK,
                "figure.facecolor": "white",
                "axes.grid": True,
                "grid.color": "#ececec",
                "axes.axisbelow": True,
            }
        )
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

    def bars(self, rows, height, title, note):
        """A figure for horizontal bars, one line a row, with a title and a note below."""
        figure, (axis,) = self.figure(height=1.1 + height * len(rows))
        axis.set_yticks(range(len(rows)), [label for label, *_ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(axis="y", visible=False)
        self.head(figure, title)
        figure.supxlabel(note, x=0.01, ha="left", fontsize=8.5, color="#666666")
        return figure, axis

    def head(self, figure, title):
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")

    def ratio_bars(self, name, title, rows):
        """Horizontal bars of ratios [(label, values, target or None)], the target a mark, the spread a line."""
        note = "bar: median; thin line: lowest to highest; upright mark: the target, reached where the bar is blue"
        figure, axis = self.bars(rows, 0.3, title, note)
        end = 1.05 * max(max(*values, target or 0) for _, values, target in rows)
        axis.set_xlim(0, end)
        for position, (_, values, target) in enumerate(rows):
            middle = statistics.median(values)
            reached = target is None or middle >= target
            axis.barh(position, middle, 0.62, color=OURS if reached else THEIRS)
            axis.plot([min(values), max(values)], [position, position], color=INK, linewidth=1)
            if target is not None:
                axis.plot([target, target], [position - 0.4, position + 0.4], color=INK, linewidth=2)
            inside = middle > 0.12 * end
            at, colour = (0, "white") if inside else (max(values), INK)
            style = {"color": colour, "va": "center", "fontweight": "bold", "fontsize": 9}
            axis.annotate(f"{middle:.1f}×", (at, position), (5, 0), textcoords="offset points", **style)
        axis.set_xlabel("times as fast")
        self.save(figure, name)

    def growth(self, name, title, panels):
        """Curves [(what grows, [(label, sizes, values, exponent)], largest exponent)], one panel each.

        Log-log, but for what should stay flat, whose time starts at zero.
        """
        figure, axes = self.figure(columns=len(panels), height=3.4)
        for axis, (what, curves, allowed) in zip(axes, panels, strict=True):
            axis.set_xscale("log")
            axis.set_yscale("log" if allowed else "linear")
            curves = sorted(curves, key=lambda curve: -sum(curve[2]))
            for curve, above in zip(curves, (True, False), strict=False):
                self._growth_curve(axis, *curve, above)
            sizes, highest = curves[0][1], max(curves[0][2])
            if allowed:
                part, before = sizes[-2:], max(curve[2][-2] for curve in curves)
                guide = [1.5 * before, 1.5 * before * (part[1] / part[0]) ** allowed]
                axis.plot(part, guide, "--", color="#888888", linewidth=1)
                style = {"color": "#666666", "fontsize": 9, "ha": "right"}
                text = "as " + what.split()[1] + ("²" if allowed == 2 else "")
                axis.annotate(text, (part[0], guide[0]), (-3, -3), textcoords="offset points", **style)
                axis.margins(y=0.12)
            else:
                axis.set_ylim(0, 1.3 * highest)
            self._plain_ticks(axis, sizes, allowed)
            axis.set_xlabel(what)
        self.head(figure, title)
        self.save(figure, name)

    def _growth_curve(self, axis, label, sizes, values, slope, above):
        colour = COLOURS.get(label, INK)
        axis.plot(sizes, values, "o-", color=colour, markersize=4)
        at = len(sizes) // 2
        shift, side = ((-4, 7), "right") if above else ((5, -12), "left")
        if len(sizes) == 3:  # room in the middle
            shift, side = (0, 9), "center"
        style = {"color": colour, "fontsize": 9, "ha": side}
        axis.annotate(f"{label}: {slope:.2f}", (sizes[at], values[at]), shift, textcoords="offset points", **style)

    def _plain_ticks(self, axis, sizes, logarithmic):
        """Ticks at the sizes (every other one where they are many), and plain numbers for the time."""
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        ticks = sizes[:: 2 if len(sizes) > 5 else 1]
        axis.set_xticks(ticks, [f"{size // 1000}k" if size >= 1000 else f"{size}" for size in ticks])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(axis="x", which="minor", bottom=False)
        if logarithmic:
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.tick_params(axis="y", which="minor", left=False)

    def memory_bars(self, name, title, rows):
        """Pairs of bars [(label, our sizes, PyTorch's or None)] of peaks; the part of the imports paler."""
        figure, axis = self.bars(rows, 0.42, title, "paler: what the imports alone take")
        for position, (_, *both) in enumerate(rows):
            for shift, sizes, colour, who in zip(
                (-0.2, 0.2), both, (OURS, THEIRS), ("fastrnn", "PyTorch"), strict=True
            ):
                if sizes is not None:
                    axis.barh(position + shift, sizes["peak"], 0.36, color=colour)
                    axis.barh(position + shift, sizes["imports"], 0.36, color="white", alpha=0.45)
                    text = f"{sizes['peak']:.0f}" + (f" {who}" if position == 0 else "")
                    style = {"va": "center", "fontsize": 8, "color": colour if position == 0 else INK}
                    axis.annotate(text, (sizes["peak"], position + shift), (4, 0), textcoords="offset points", **style)
        axis.margins(x=0.12)
        axis.set_xlabel("MB")
        self.save(figure, name)

    def curves(self, name, title, panels, after, value="perplexity"):
        """A value against seconds, a panel for each corpus: {corpus: [{who: [{"seconds", value}]}]}.

        A dotted line marks PyTorch's value after so many epochs, 0: after all; what ran in bfloat16 is dashed.
        """
        figure, axes = self.figure(columns=len(panels), height=3.4)
        for axis, (corpus, runs) in zip(axes, panels.items(), strict=True):
            for run in runs:
                own, colours = iter((OURS, OTHER)), {"PyTorch": THEIRS}
                for who, curve in run.items():
                    plain = who.removesuffix(BFLOAT16)
                    colour = colours[plain] = colours.get(plain) or next(own)
                    points = [(at["seconds"], at[value]) for at in curve]
                    axis.plot(*zip(*points, strict=True), "o-" if who == plain else "o--", color=colour, markersize=4)
                    if run is runs[0] and who == plain:
                        axis.annotate(who, points[0], (7, 3), textcoords="offset points", color=colour)
                if "PyTorch" in run:
                    axis.axhline(run["PyTorch"][after - 1][value], color="#888888", linewidth=1, linestyle=":")
            axis.set_xlim(left=0)
            axis.margins(y=0.12)
            axis.set_title(corpus, fontsize=10)
            axis.set_xlabel("seconds of training")
        self.head(figure, title)
        self.save(figure, name)
