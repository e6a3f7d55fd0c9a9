"""Surprisal: how little a model expected each token of a text, -ln p in nats; and its picture for a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..text.special_tokens import END, START
from ..validation import check_choice, check_integer

if TYPE_CHECKING:
    from ..estimators.language_model import LanguageModel

COLORS = ("none", "256", "24bit")
# From expected to unexpected; told apart by the colour-blind, and darker and darker in grey (ColorBrewer's YlOrBr).
RAMP = ("#ffffe5", "#fee391", "#fe9929", "#cc4c02", "#662506")
START_MARK, END_MARK = "<s>", "</s>"  # how the ends of a sentence are shown
UNKNOWN_MARK = "*"

_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥"}
_QUOTES = {"``": '"', "''": '"'}  # as NLTK's tokenizer has them
_CUBE = np.array([0, 95, 135, 175, 215, 255])  # levels of red, green and blue among a terminal's 256 colours


class Token(NamedTuple):
    """A token as it is shown, and its surprisal."""

    word: str
    nats: float
    unknown: bool


class Reading(NamedTuple):
    """A text as a language model reads it: one list a sentence each."""

    words: list  # of lists of str, as they are shown
    x: list  # of lists of int: SENTENCE_START, and the words
    y: list  # of lists of int: the words, and SENTENCE_END


def read(language_model, text):
    """Split a text into the sentences and tokens of the model; a `Reading`."""
    if not isinstance(text, str):
        raise TypeError(f"text: found {type(text).__name__}, expected a str")
    if not hasattr(language_model, "vocabulary_"):
        raise TypeError(f"language_model: found {type(language_model).__name__}, expected a fitted LanguageModel")
    vocabulary = language_model.vocabulary_
    words, x, y = [], [], []
    for sentence in vocabulary.sentences([text]):
        indices = vocabulary.encode(sentence).tolist()
        unknown = [index == len(vocabulary) - 1 for index in indices]
        tokens = zip(vocabulary.tokenize(sentence), unknown, strict=True)
        words.append([_visible(word) + UNKNOWN_MARK * is_unknown for word, is_unknown in tokens])
        x.append([START, *indices])
        y.append([*indices, END])
    if not words:
        raise ValueError(f"text: found {text[:20]!r}, expected at least one word")
    return Reading(words, x, y)


def measure(language_model, text):
    """The tokens of a text with their surprisals.

    Parameters
    ----------
    language_model : LanguageModel
    text : str
        Of any number of sentences.

    Returns
    -------
    list of list of Token
        One list a sentence; the last token of each is SENTENCE_END.

    Raises
    ------
    TypeError, ValueError
        `text` is not a str, or has no word.
    """
    reading = read(language_model, text)
    losses, _ = language_model.model_.token_losses(reading.x, reading.y)
    nats, unknown = iter(losses.tolist()), len(language_model.vocabulary_) - 1
    return [
        [Token(word, next(nats), index == unknown) for word, index in zip([*words, END_MARK], y, strict=True)]
        for words, y in zip(reading.words, reading.y, strict=True)
    ]


def highest(language_model):
    """Where the scale of colours ends: ln C, the surprisal of every token to one who only guesses."""
    return float(np.log(len(language_model.vocabulary_)))


def summary(sentences):
    """One line: tokens, mean surprisal, perplexity, and how many words are unknown."""
    nats = np.array([token.nats for sentence in sentences for token in sentence])
    unknown_words = sum(token.unknown for sentence in sentences for token in sentence)
    with np.errstate(over="ignore"):
        perplexity = np.exp(nats.mean())
    count = f"{len(nats):,} token{'' if len(nats) == 1 else 's'}"
    told = f"{count}, {nats.mean():.2f} nats per token, perplexity {perplexity:,.1f}"
    return told + (f"; {unknown_words} unknown, marked {UNKNOWN_MARK}" if unknown_words else "")


def wrap(widths, columns, gap):
    """Lines for words of the given widths: a list of lists of indices; a word too long has a line of its own."""
    lines, used = [[]], 0
    for index, width in enumerate(widths):
        if lines[-1] and used + gap + width > columns:
            lines.append([])
        used = used + gap + width if lines[-1] else width
        lines[-1].append(index)
    return lines


def columns_of(word):
    """Columns that a word takes in a terminal, where East Asian letters are two wide."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in word
    )


def surprisal_line(language_model: LanguageModel, text: str, color: str | None = None, width: int | None = None) -> str:
    """A text as a line of words, each on a colour that tells its surprisal: pale what was expected, dark what was not.

    Parameters
    ----------
    language_model : LanguageModel
    text : str
        Every sentence begins a line; its end is shown as `</s>`, unknown words are followed by `*`.
    color : {"none", "256", "24bit"}, optional
        Colours of the terminal; "none" writes the nats after each word instead. By default what standard
        output can show: none where it is no terminal or the variable NO_COLOR is set.
    width : int, optional
        Columns of a line; by default the terminal's.

    Returns
    -------
    str
        The lines; then a summary: tokens, mean nats, perplexity.

    Raises
    ------
    TypeError, ValueError
        An argument is not usable, or the text has no word.
    """
    color = _terminal_colors() if color is None else color
    check_choice("color", color, COLORS)
    width = check_integer("width", width, 1, none=True) or shutil.get_terminal_size().columns
    sentences, end = measure(language_model, text), highest(language_model)
    gap, lines = " " * (language_model.vocabulary_.level != "char" or color == "none"), []
    for tokens in sentences:
        shown = [f"{token.word}({token.nats:.1f})" if color == "none" else token.word for token in tokens]
        painted = [_painted(word, token.nats / end, color) for word, token in zip(shown, tokens, strict=True)]
        wrapped = wrap(list(map(columns_of, shown)), width, len(gap))
        lines += [gap.join(painted[index] for index in line) for line in wrapped]
    return "\n".join([*lines, summary(sentences)])


def rgb(share):
    """Colour of a share of the scale, three ints of 0 to 255; beyond the scale its ends."""
    anchors = np.array([[int(color[k : k + 2], 16) for k in (1, 3, 5)] for color in RAMP])
    positions = np.linspace(0, 1, len(RAMP))
    return tuple(round(float(np.interp(share, positions, channel))) for channel in anchors.T)


def is_dark(color):
    """Whether white letters are read better on it than black ones: by its luminance, as WCAG 2 defines contrast."""
    linear = np.array([c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(color) / 255])
    return float(linear @ (0.2126, 0.7152, 0.0722)) < 0.179


def _painted(word, share, color):
    if color == "none":
        return word
    background = rgb(share)
    if color == "24bit":
        code = "2;" + ";".join(map(str, background))
    else:
        levels = [int(abs(_CUBE - value).argmin()) for value in background]
        background = _CUBE[levels]
        code = f"5;{16 + levels @ np.array([36, 6, 1])}"
    ink = 231 if is_dark(background) else 16  # white and black among the 256
    return f"\x1b[38;5;{ink};48;{code}m{word}\x1b[0m"


def _terminal_colors():
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return "none"
    return "24bit" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else "256"


def _visible(word):
    """The word, with a letter for each that cannot be seen, or would command the terminal."""
    word = _QUOTES.get(word, word)
    return "".join(_VISIBLE.get(letter, letter if letter.isprintable() else "�") for letter in word)
