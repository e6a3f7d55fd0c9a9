"""Pictures of training and of what a model does with a text. They need matplotlib, which the extra `plot` installs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..validation import check_choice, check_integer, check_list, check_str
from .figures import (
    COLORS,
    LINE,
    MARKERS,
    NARROW_LINE,
    PALE,
    band,
    check_axes,
    cut,
    draw_word,
    fonts,
    heat_map,
    new_axes,
    page,
    pyplot,
)
from .surprisal import START_MARK, columns_of, highest, measure, read, summary, surprisal_line, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ..estimators.language_model import LanguageModel

__all__ = ["plot_gates", "plot_hidden", "plot_losses", "plot_surprisal", "surprisal_line"]

BY = {"epoch": "epochs", "tokens": "tokens read", "seconds": "seconds of training"}
MAX_UNITS, MAX_TOKENS = 24, 48  # that a picture shows; of more, a part is shown, and said so
LONGEST_LABEL = 16  # letters of a word below a column


def plot_losses(
    models_or_histories: Sequence[Any], by: str = "epoch", labels: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Loss curves of one or several runs, in training and, dashed, in validation.

    Parameters
    ----------
    models_or_histories : list
        Fitted models, or their `history_`.
    by : {"epoch", "tokens", "seconds"}
        What is on the horizontal axis: epochs, tokens read, seconds of training.
    labels : list of str, optional
        Names of the runs; by default "run 1", ...
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError, ValueError
        A run has no history, no epoch, or none of what `by` asks for.
    """
    check_choice("by", by, tuple(BY))
    runs = models_or_histories if isinstance(models_or_histories, (list, tuple)) else [models_or_histories]
    if labels is None:
        labels = [f"run {k}" for k in range(1, len(runs) + 1)]
    else:
        labels = [check_str("labels", label) for label in check_list("labels", labels, "str")]
    if not runs:
        raise ValueError("models_or_histories: found none, expected at least one")
    if len(labels) != len(runs):
        raise ValueError(f"labels: found {len(labels)} for {len(runs)} runs of models_or_histories, expected one each")
    curves = [_curves(label, run, by) for label, run in zip(labels, runs, strict=True)]
    ax = new_axes((7.5, 4.2)) if ax is None else check_axes("ax", ax)
    for k, (label, (positions, losses, validation)) in enumerate(zip(labels, curves, strict=True)):
        style = {
            "color": COLORS[k % len(COLORS)], "marker": MARKERS[k % len(MARKERS)], "markersize": 4,
            "markevery": max(1, len(positions) // 12),
        }  # fmt: skip
        ax.plot(positions, losses, label=label, **style)
        if len(validation):
            kept = np.flatnonzero(np.isfinite(validation))  # where it was measured
            ax.plot(positions[kept], validation[kept], "--", label=f"{label}, validation", **style | {"mfc": "white"})
    ax.set(xlabel=BY[by], ylabel="loss, nats per token")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=PALE)
    if by == "epoch":
        ax.xaxis.get_major_locator().set_params(integer=True)
    for text in ax.legend(frameon=False).get_texts():
        text.set_parse_math(False)
    return ax


def plot_surprisal(language_model: LanguageModel, text: str, ax: Axes | None = None) -> Axes:
    """The words of a text, each on a colour that tells its surprisal, -ln p in nats, which stands below it.

    Parameters
    ----------
    language_model : LanguageModel
    text : str
        Every sentence begins a line; its end is shown as `</s>`, unknown words are followed by `*`.
    ax : matplotlib Axes, optional
        By default those of a new figure, high enough for forty lines. What finds no place is left out, as the
        title then says.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError, ValueError
        `text` is not a str, or has no word.
    """
    pyplot()
    ax = None if ax is None else check_axes("ax", ax)
    sentences, top = measure(language_model, text), highest(language_model)
    letters, size = language_model.vocabulary_.level == "char", len(language_model.vocabulary_)
    families, drawable = fonts([token.word for tokens in sentences for token in tokens], "DejaVu Sans Mono")
    sentences = [[token._replace(word=drawable(token.word)) for token in tokens] for tokens in sentences]
    height = NARROW_LINE if letters else LINE
    ax, columns, rows = page(
        ax, lambda columns: len(_laid_out(sentences, columns, letters)), height, sentences, top, size
    )
    lines = _laid_out(sentences, columns, letters)
    for row, line in enumerate(lines[: int(rows)]):
        for position, width, token in line:
            draw_word(ax, row, position, width, token, top, families, height)
    shown, total = (sum(map(len, part)) for part in (lines[: int(rows)], lines))
    remark = f"\nthe first {shown:,} of {total:,} are shown" if shown < total else ""
    ax.set_title(summary(sentences) + remark, loc="left", size=10)
    return ax


def plot_hidden(
    language_model: LanguageModel, text: str, layer: int = -1, units: int | None = None, ax: Axes | None = None
) -> Axes:
    """Hidden units over a text: a heat map of h, a row a unit and a column a token, after it was read.

    Parameters
    ----------
    language_model : LanguageModel
    text : str
        Of its sentences at most 48 tokens are shown; a white line stands where a sentence ends and the state
        begins anew. Unknown words are followed by `*`.
    layer : int
        Counted from below, 0 the first; or from above, -1 the last.
    units : int or list of int, optional
        How many units, those that vary most, like ones side by side; or which, in this order. By default 24.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError, ValueError
        An argument is not usable, or the text has no word.
    """
    pyplot()
    columns = _Columns(language_model, read(language_model, text), layer, MAX_UNITS if units is None else units)
    chosen, which = _chosen(columns.values["h"], columns.units)
    ax = new_axes((2.2 + 0.21 * columns.count, 1.7 + 0.19 * len(chosen))) if ax is None else check_axes("ax", ax)
    image = heat_map(ax, columns.values["h"], chosen, -1)
    columns.label(ax)
    ax.set_ylabel("unit")
    ax.set_title(f"h of layer {columns.layer}, {which}{columns.remark}", loc="left", size=10)
    ax.figure.colorbar(image, ax=ax, label="h", fraction=0.04, pad=0.02)
    return ax


def plot_gates(
    language_model: LanguageModel, text: str, layer: int = -1, units: int | None = None, ax: Axes | None = None
) -> list[Axes]:
    """Gates over a text, a panel each: how open they are after each token was read.

    Parameters
    ----------
    language_model : LanguageModel
        Of a cell that has gates.
    text, layer
        As in `plot_hidden`.
    units : int or list of int, optional
        None draws the mean of all units and a band that holds the middle half of them; otherwise a heat map of the
        units that `plot_hidden` would show: so many of those whose h varies most, or these.
    ax : list of matplotlib Axes, optional
        One a gate, from above; by default those of a new figure.

    Returns
    -------
    list of matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError, ValueError
        An argument is not usable, the text has no word, or the cell has no gates.
    """
    pyplot()
    reading = read(language_model, text)
    cell = language_model.model_.network_.cell_class
    names = cell.GATE_NAMES
    if not names:
        raise ValueError(f"language_model: found the cell {cell.NAME!r}, which has no gates, expected one that has")
    columns = _Columns(language_model, reading, layer, units)
    chosen, which = (None, "mean of all units, and their middle half")
    if columns.units is not None:
        chosen, which = _chosen(columns.values["h"], columns.units)
    height = 1.0 if chosen is None else 0.3 + 0.19 * len(chosen)
    size = 2.2 + 0.21 * columns.count, 1.5 + height * len(names)
    axes = new_axes(size, len(names)) if ax is None else check_list("ax", ax, "Axes")
    for panel in axes:
        check_axes("ax", panel)
    if len(axes) != len(names):
        raise ValueError(f"ax: found {len(axes)} axes, expected {len(names)}, one for each gate {', '.join(names)}")
    for name, panel in zip(names, axes, strict=True):
        values = columns.values[name]
        low = -1 if values.min() < 0 else 0
        if chosen is None:
            band(panel, values, low, columns.breaks)
        else:
            image = heat_map(panel, values, chosen, low)
            panel.figure.colorbar(image, ax=panel, fraction=0.04, pad=0.02)
        columns.label(panel, panel is axes[-1])
        panel.set_ylabel(name, rotation=0, size=12, labelpad=12, va="center")
    axes[0].set_title(f"Gates of layer {columns.layer}, {which}{columns.remark}", loc="left", size=10)
    return axes


# Losses


def _curves(label, run, by):
    """What is on the horizontal axis, training losses and validation losses (maybe none) of a run."""
    history = run
    while hasattr(history, "model_"):
        history = history.model_
    history = getattr(history, "history_", history)
    if not hasattr(history, "losses"):
        raise TypeError(
            f"{label}: found {type(run).__name__}, expected a fitted model or its history_ in models_or_histories"
        )
    losses = np.array(history.losses, float)
    if not len(losses):
        raise ValueError(f"{label}: found no epoch, expected models_or_histories that were trained")
    positions = np.arange(1, len(losses) + 1) if by == "epoch" else np.array(getattr(history, by, []), float)
    if len(positions) != len(losses) or not np.isfinite(positions).any():
        raise ValueError(f'by: found {by!r}, which the history of {label} has not; expected by="epoch"')
    validation = np.array(getattr(history, "validation_losses", None) or [], float)
    return positions, losses, validation


# Words


def _laid_out(sentences, columns, letters):
    """Lines of (place, width, token), in columns; words that are longer than a line are shortened."""
    least, margin, gap = (1, 0, 0) if letters else (3, 0.6, 0.4)  # room for the number below a word
    lines = []
    for tokens in sentences:
        tokens = [token._replace(word=cut(token.word, int(columns) - 1)) for token in tokens]
        widths = [max(least, columns_of(token.word) + margin) for token in tokens]
        for line in wrap(widths, columns, gap):
            ends = np.cumsum([widths[k] + gap for k in line]) - gap
            lines.append([(end - widths[k], widths[k], tokens[k]) for end, k in zip(ends, line, strict=True)])
    return lines


# Activations


class _Columns:
    """States and gates of a layer, a row a token as it stands below a column of the picture.

    Attributes: `values`, {name: array (T, H)}; `count`, T; `layer`, counted from below; `units`, as asked for, checked;
    `remark`, what was left out; `breaks`, the positions after the first where a sentence begins.
    """

    def __init__(self, language_model, reading, layer, units):
        network = language_model.model_.network_
        layers = network.num_layers
        layer = check_integer("layer", layer, -layers, layers - 1)
        self.layer, self.units = layer % layers, None if units is None else _check_units(units, network.hidden_dim)
        found = language_model.model_.activations(reading.x)
        total = sum(map(len, reading.x))
        self.count = min(total, MAX_TOKENS)
        self.remark = f"; the first {self.count} of {total:,} tokens" if self.count < total else ""
        self.values = {
            name: np.concatenate([sentence[layer][name] for sentence in found])[: self.count]
            for name in found[0][layer]
        }
        words = [word for sentence in reading.words for word in (START_MARK, *sentence)][: self.count]
        self._families, drawable = fonts(words, "DejaVu Sans")
        self.breaks = [position for position in range(1, self.count) if words[position] == START_MARK]
        self._words = [cut(drawable(word), LONGEST_LABEL) for word in words]

    def label(self, ax, with_words=True):
        """The tokens below the columns, and a line between sentences."""
        ax.set_xlim(-0.5, self.count - 0.5)
        words = self._words if with_words else [""] * self.count
        ax.set_xticks(range(self.count), words, rotation=90, size=9, family=self._families, parse_math=False)
        for position in self.breaks:
            ax.axvline(position - 0.5, color="white", linewidth=2.5)


def _check_units(units, H):
    """How many of H units, an int, or which, an array of int."""
    if not isinstance(units, (list, tuple, np.ndarray)):
        return check_integer("units", units, 1)
    units = [check_integer("units", unit, 0, H - 1) for unit in check_list("units", units, "int")]
    if not units:
        raise ValueError("units: found none, expected at least one")
    return np.array(units)


def _chosen(values, units):
    """Units of a picture in order, and what to call them; `values` (T, H) tell which vary most."""
    H = values.shape[1]
    if isinstance(units, np.ndarray):
        return units, f"{len(units)} of {H} units"
    chosen, which = np.arange(H), f"all {H} units"
    if units < H:
        chosen = np.argsort(-values.std(axis=0), kind="stable")[:units]
        which = f"the {units} most varying of {H} units"
    return chosen[_alike(values[:, chosen])], which


def _alike(values):
    """Order of the columns by their part in what they do together most: like ones become neighbours."""
    weights = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[2][0]
    return np.argsort(weights * np.sign(weights[0] or 1), kind="stable")
