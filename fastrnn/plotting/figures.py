"""What pictures are made of: figures, fonts, words on colours, heat maps. matplotlib is imported inside."""

import logging

import numpy as np

from ..validation import shown
from .surprisal import RAMP, is_dark, rgb

# Okabe and Ito's colours, which the colour-blind tell apart; markers and dashes tell more in grey.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "os^Dv<>"
HEAT = "cividis"  # its lightness rises all the way: as good in grey, and to the colour-blind
GREY, PALE = "#555555", "#e6e6e6"
# For letters that matplotlib's own font lacks; those that are installed.
FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "Hiragino Sans", "PingFang SC", "Yu Gothic",
    "Microsoft YaHei", "MS Gothic", "Malgun Gothic", "WenQuanYi Zen Hei", "Arial Unicode MS", "Noto Sans Devanagari",
    "Noto Sans Thai",
)  # fmt: skip

# Of a page of words, in points: letters of a monospaced font and their width, the nats below, the box of a word, lines
# with nats and without.
LETTER, ADVANCE, SMALL, BOX, LINE, NARROW_LINE = 11, 0.602 * 11, 7, 17, 30, 21
MOST_LINES = 40

logger = logging.getLogger("fastrnn")


def pyplot():
    """matplotlib.pyplot; ImportError that says how to install it."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from None
    return pyplot


# Figures and fonts


def new_axes(size, rows=None):
    """Axes of a new figure, or a list of them one below the other; wide enough for a title."""
    size = max(size[0], 5.5), size[1]
    _, axes = pyplot().subplots(rows or 1, 1, figsize=size, layout="constrained", squeeze=False)
    return axes[0, 0] if rows is None else list(axes[:, 0])


def check_axes(name, ax):
    """Return matplotlib Axes; TypeError, which names the argument, for anything else."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"{name}: found {shown(ax)}, expected matplotlib Axes")
    return ax


def fonts(words, first):
    """Font families for words, and a function that puts boxes for the letters of a word that none of them has."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = [first, "DejaVu Sans"]
    missing = {letter for word in words for letter in word if ord(letter) > 126}
    for family in [*families, *(font for font in FONTS if font in installed)]:
        if missing:
            font = font_manager.get_font(font_manager.findfont(family))
            having = {letter for letter in missing if font.get_char_index(ord(letter))}
            families += [family] if having and family not in families else []
            missing -= having
    if missing:
        logger.warning(
            "no known font is installed that has %s: boxes stand for these letters", "".join(sorted(missing))
        )
    return families, lambda word: "".join("□" if letter in missing else letter for letter in word)


def cut(word, longest):
    """The word, shortened to so many letters if need be."""
    return word if len(word) <= longest else word[: max(0, longest - 1)] + "…"


# Words


def page(ax, lines_in, line, sentences, end, vocab_size):
    """Axes for lines of words, each `line` points high, with a colour bar up to `end` nats.

    Without `ax` a figure is made, high enough for the lines that `lines_in(columns)` tells. Returned are the axes,
    in columns and lines, and how many of both there are (floats).
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    beyond = any(token.nats > end for sentence in sentences for token in sentence)
    scale = ScalarMappable(Normalize(0, end), LinearSegmentedColormap.from_list("surprisal", RAMP))
    options = {"orientation": "horizontal", "extend": "max" if beyond else "neither"}
    if ax is None:
        width, left, above, below = 8.0, 0.15, 0.35, 0.75  # inches
        lines = lines_in((width - 2 * left) * 72 / ADVANCE)
        above, lines = (above, lines) if lines <= MOST_LINES else (above + 0.2, MOST_LINES)
        inner = lines * line / 72
        height = above + inner + below
        figure = pyplot().figure(figsize=(width, height))
        ax = figure.add_axes([left / width, below / height, 1 - 2 * left / width, inner / height])
        bar = figure.colorbar(scale, cax=figure.add_axes([left / width, 0.48 / height, 0.5, 0.12 / height]), **options)
    else:
        figure = ax.figure
        bar = figure.colorbar(scale, ax=ax, fraction=0.05, pad=0.02, aspect=40, **options)
    bar.set_label(f"surprisal, nats; {end:.2f} is a blind guess among all {vocab_size:,} tokens", size=8)
    bar.ax.tick_params(labelsize=8)
    box, points = ax.get_window_extent(), 72 / figure.dpi
    columns, rows = box.width * points / ADVANCE, max(1, round(box.height * points / line, 3))
    ax.set_axis_off()
    ax.set(xlim=(0, columns), ylim=(rows, 0))
    return ax, columns, rows


def draw_word(ax, row, position, width, token, end, families, line):
    """A token's word on its colour, `width` columns of a row of the page, and the nats below where lines have room."""
    from matplotlib.patches import Rectangle

    color = rgb(token.nats / end)
    background, ink = [part / 255 for part in color], "white" if is_dark(color) else "black"
    ax.add_patch(Rectangle((position, row + 2 / line), width, BOX / line, color=background, linewidth=0))
    options = {"ha": "center", "va": "center_baseline", "parse_math": False, "clip_on": True}
    middle = position + width / 2
    ax.text(middle, row + (2 + BOX / 2) / line, token.word, color=ink, size=LETTER, family=families, **options)
    if line == LINE:
        ax.text(middle, row + (BOX + 6.5) / line, f"{token.nats:.1f}", color=GREY, size=SMALL, **options)


# Panels


def heat_map(ax, values, chosen, low):
    """An image of `values` (T, H), a row for each chosen unit, in colours from `low` to 1."""
    image = ax.imshow(values[:, chosen].T, aspect="auto", cmap=HEAT, vmin=low, vmax=1, interpolation="nearest")
    ax.set_yticks(range(len(chosen)), chosen, size=8)
    ax.tick_params(length=0)
    return image


def band(ax, values, low, breaks):
    """The mean of all units, and where the middle half of them is; `breaks` are the places where a sentence begins."""
    positions, middle = np.arange(len(values), dtype=float), values.mean(axis=1)
    below, above = np.quantile(values, (0.25, 0.75), axis=1)
    positions, middle, below, above = (np.insert(row, breaks, np.nan) for row in (positions, middle, below, above))
    ax.fill_between(positions, below, above, color=COLORS[0], alpha=0.25, linewidth=0)
    ax.plot(positions, middle, color=COLORS[0], marker="o", markersize=3.5)
    ax.set_ylim(low, 1)
    ax.grid(color=PALE)
    ax.spines[["top", "right"]].set_visible(False)
