"""Pictures: what is drawn is what the model says, it is readable, and nothing overlaps."""

import itertools
import logging
import re
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb

from fastrnn import FastRNN, LanguageModel
from fastrnn.plotting import figures, plots, surprisal
from fastrnn.plotting.plots import plot_gates, plot_hidden, plot_losses, plot_surprisal, surprisal_line

matplotlib.use("agg")

TEXTS = ["The cat sees the dog. The dog sees a naïve mouse!", "Is it a cat? It costs $5, the dog said."] * 3
NAN = float("nan")


def fit(cell="gru", **parameters):
    options = {"hidden_dim": 6, "max_epochs": 2, "n_threads": 1, "random_state": 0} | parameters
    return LanguageModel(cell=cell, **options).fit(TEXTS)


@pytest.fixture(scope="module")
def model():
    return fit()


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    pyplot.close("all")


def drawn(axes):
    """Draw the figure: what matplotlib cannot draw is a warning, and so an error."""
    axes.figure.canvas.draw()
    return axes


# Losses


def run_of(losses, **lists):
    return SimpleNamespace(losses=losses, **lists)


def test_loss_curves_of_several_runs():
    first = run_of([3.0, 2.0, 1.5], validation_losses=[NAN, 2.5], seconds=[1.0, 2.5, 4.0], tokens=[10, 20, 30])
    second = run_of([4.0], validation_losses=[], seconds=[7.0], tokens=[5])
    for by, places in {"epoch": ([1, 2, 3], [1]), "seconds": ([1, 2.5, 4], [7]), "tokens": ([10, 20, 30], [5])}.items():
        axes = drawn(plot_losses([first, second], by, ["a $x^2$", "b"]))
        train, validation, other = axes.lines
        assert (list(train.get_xdata()), list(train.get_ydata())) == (places[0], [3.0, 2.0, 1.5])
        assert (list(validation.get_xdata()), list(validation.get_ydata())) == (places[0][1:2], [2.5])
        assert (list(other.get_xdata()), list(other.get_ydata())) == (places[1], [4.0])
        assert (train.get_linestyle(), validation.get_linestyle()) == ("-", "--")
        assert train.get_color() == validation.get_color() != other.get_color()
        assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a $x^2$", "a $x^2$, validation", "b"]
        assert "nats" in axes.get_ylabel()


def test_losses_of_models_and_of_one(model):
    _, own = pyplot.subplots()
    assert plot_losses([model, model.model_, model.model_.history_], ax=own) is own
    for line in own.lines:
        assert list(line.get_ydata()) == model.model_.loss_curve_
    assert len(plot_losses(model).lines) == 1


def test_errors_of_losses(model):
    with pytest.raises(ValueError, match="by: found 'hours', expected one of 'epoch', 'tokens', 'seconds'"):
        plot_losses([model], "hours")
    for times in ({}, {"seconds": [NAN]}, {"seconds": [1.0, 2.0]}):
        with pytest.raises(ValueError, match="by: found 'seconds', which the history of old has not"):
            plot_losses([run_of([1.0], **times)], "seconds", ["old"])
    with pytest.raises(ValueError, match="run 2: found no epoch"):
        plot_losses([model, run_of([])])
    with pytest.raises(ValueError, match="labels: found 1 for 2 runs"):
        plot_losses([model, model], labels=["a"])
    with pytest.raises(ValueError, match="models_or_histories: found none"):
        plot_losses([])
    for unfitted in (FastRNN(), LanguageModel(), [1.0]):
        with pytest.raises(TypeError, match="run 1: found .*, expected a fitted model"):
            plot_losses([unfitted])


# Surprisal


def test_surprisals_are_those_of_the_model(model):
    text = "The dog sees the zebra. It is a cat!"
    sentences = surprisal.measure(model, text)
    assert [[token.word for token in tokens] for tokens in sentences] == [
        ["the", "dog", "sees", "the", "zebra*", ".", "</s>"],
        ["it", "is", "a", "cat", "!", "</s>"],
    ]
    assert [token.word for tokens in sentences for token in tokens if token.unknown] == ["zebra*"]
    totals = [-sum(token.nats for token in tokens) for tokens in sentences]
    assert totals == pytest.approx(model.score_samples([text], per_sentence=True)[0], rel=1e-5)
    loss = model.loss([text])
    assert surprisal.summary(sentences) == (
        f"13 tokens, {loss:.2f} nats per token, perplexity {np.exp(loss):.1f}; 1 unknown, marked *"
    )


def test_without_colours_the_numbers_stand_behind_the_words(model, monkeypatch):
    text = "The dog sees a zebra."
    nats = [token.nats for token in surprisal.measure(model, text)[0]]
    plain = surprisal_line(model, text, width=1000)  # pytest's standard output is no terminal
    words, told = plain.splitlines()
    assert re.findall(r"(\S+)\(([\d.]+)\)", words) == [
        (word, f"{number:.1f}")
        for word, number in zip(["the", "dog", "sees", "a", "zebra*", ".", "</s>"], nats, strict=True)
    ]
    assert told.startswith("7 tokens, ")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for name, value, colors in (
        ("TERM", "xterm", "256"),
        ("COLORTERM", "truecolor", "24bit"),
        ("NO_COLOR", "1", "none"),
    ):
        monkeypatch.setenv(name, value)
        if name == "TERM":
            monkeypatch.delenv("COLORTERM", raising=False)
            monkeypatch.delenv("NO_COLOR", raising=False)
        assert surprisal_line(model, text, width=1000) == surprisal_line(model, text, colors, 1000)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert surprisal_line(model, text, width=1000) == plain


def test_colours_tell_the_surprisal(model):
    text = "The dog sees a zebra."
    tokens = surprisal.measure(model, text)[0]
    line = surprisal_line(model, text, "24bit", 1000).splitlines()[0]
    found = re.findall(r"\x1b\[38;5;(\d+);48;2;(\d+);(\d+);(\d+)m([^\x1b]*)\x1b\[0m", line)
    assert [word for *_, word in found] == [token.word for token in tokens]
    for (ink, *color, _), token in zip(found, tokens, strict=True):
        assert tuple(map(int, color)) == surprisal.rgb(token.nats / np.log(len(model.vocabulary_)))
        assert ink == ("231" if surprisal.is_dark(tuple(map(int, color))) else "16")
    line = surprisal_line(model, text, "256", 1000).splitlines()[0]
    for code, token in zip(re.findall(r"48;5;(\d+)m", line), tokens, strict=True):
        cube = np.array([0, 95, 135, 175, 215, 255])[[(int(code) - 16) // n % 6 for n in (36, 6, 1)]]
        assert abs(cube - surprisal.rgb(token.nats / np.log(len(model.vocabulary_)))).max() <= 48
    assert re.sub(r"\x1b\[38;5;\d+;48;5;\d+m|\x1b\[0m", "", line) == " ".join(token.word for token in tokens)


def test_the_scale_darkens_all_the_way_and_its_letters_can_be_read():
    grey = [np.dot(surprisal.rgb(share), (0.2126, 0.7152, 0.0722)) for share in np.linspace(0, 1, 50)]
    assert (np.diff(grey) < 0).all() and grey[0] - grey[-1] > 180
    assert surprisal.rgb(9.0) == surprisal.rgb(1.0) and surprisal.rgb(0.0) == (255, 255, 229)

    def luminance(color):  # of the Web Content Accessibility Guidelines
        parts = np.array(color) / 255
        return np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    for share in np.linspace(0, 1, 50):
        color = surprisal.rgb(share)
        ink = 1.0 if surprisal.is_dark(color) else 0.0
        light, dark = sorted((luminance(color), ink), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5, share


def test_lines_are_no_wider_than_the_terminal_and_sentences_begin_them(model):
    text = "The cat sees the dog. " * 3 + "日本語日本語 " * 8
    for width in (12, 40):
        lines = surprisal_line(model, text, "none", width).splitlines()[:-1]
        assert all(surprisal.columns_of(line) <= width or " " not in line for line in lines)
        assert [line for line in lines if line.startswith("the(")]
        assert sum(line.count("</s>") for line in lines) == 4
        assert all(line.index("</s>") + len("</s>(0.0)") >= len(line) - 1 for line in lines if "</s>" in line)
    assert surprisal.wrap([3, 3, 9, 1, 1], 7, 1) == [[0, 1], [2], [3, 4]]


def test_what_cannot_be_seen_is_shown_and_commands_to_the_terminal_are_not():
    model = fit(level="char", sentence_split="text")
    line = surprisal_line(model, "the\tcat\n\x1b[31m", "256", 200)
    shown = re.sub(r"\x1b\[38;5;\d+;48;5;\d+m|\x1b\[0m", "", line)
    assert shown.startswith("the⇥*cat⏎*�*") and "\x1b" not in shown
    drawn(plot_surprisal(model, "the\tcat\n\x1b[31m"))
    assert surprisal.measure(fit(), '"Is it?"')[0][0].word == '"*'


@pytest.mark.parametrize("picture", [surprisal_line, plot_surprisal, plot_hidden, plot_gates])
def test_errors_of_pictures_of_a_text(picture, model):
    for empty in ("", " \n "):
        with pytest.raises(ValueError, match="text: found .*, expected at least one word"):
            picture(model, empty)
    with pytest.raises(TypeError, match="text: found list, expected a str"):
        picture(model, ["the dog"])
    for other in (model.model_, LanguageModel(), "m.npz"):
        with pytest.raises(TypeError, match="language_model: found .*, expected a fitted LanguageModel"):
            picture(other, "the dog")
    with pytest.raises(ValueError, match="color: found 'red'"):
        surprisal_line(model, "the dog", "red")


def words_of(axes):
    return [text.get_text() for text in axes.texts if not re.fullmatch(r"\d+\.\d", text.get_text())]


@pytest.mark.parametrize("text", ["Cat", "The cat sees $x^2$ and a naïve $zebra. " * 8])
def test_a_page_of_words_without_overlap(model, text):
    axes = drawn(plot_surprisal(model, text))
    tokens = [token for sentence in surprisal.measure(model, text) for token in sentence]
    assert words_of(axes) == [token.word for token in tokens]
    numbers = [label.get_text() for label in axes.texts if label.get_text() not in words_of(axes)]
    assert numbers == [f"{token.nats:.1f}" for token in tokens]
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    boxes = [patch.get_bbox() for patch in axes.patches]
    assert all(0 <= box.x0 < box.x1 <= right and 0 <= box.y0 < box.y1 <= bottom for box in boxes)
    for before, after in itertools.pairwise(boxes):
        assert before.x1 < after.x0 or before.y1 < after.y0
    for patch, token in zip(axes.patches, tokens, strict=True):
        color = np.array(surprisal.rgb(token.nats / np.log(len(model.vocabulary_)))) / 255
        assert patch.get_facecolor()[:3] == pytest.approx(color)
    for label in axes.texts:  # what is written stays within its box; numbers within the page
        extent = label.get_window_extent().transformed(axes.transData.inverted())
        assert -0.01 <= extent.x0 and extent.x1 <= right + 0.01


def test_a_long_text_is_cut_and_the_title_says_so(model):
    text = "The cat sees the dog. " * 100
    axes = plot_surprisal(model, text)
    title = axes.get_title("left")
    shown = int(re.search(r"\nthe first (\d+) of 700 are shown", title)[1])
    assert len(words_of(axes)) == shown == 7 * figures.MOST_LINES
    assert title.startswith("700 tokens, ")
    _, own = pyplot.subplots(figsize=(3, 2))
    assert plot_surprisal(model, text, ax=own) is own
    assert 7 <= len(words_of(own)) < 50
    assert all(patch.get_bbox().y1 <= own.get_ylim()[0] for patch in own.patches)


def test_letters_that_no_font_has_are_boxes_and_told_once(model, caplog):
    with caplog.at_level(logging.WARNING, "fastrnn"):
        axes = drawn(plot_surprisal(model, "The cat \U00013000\U00013001 naïve."))  # hieroglyphs
    assert "□□*" in words_of(axes) and "naïve" in words_of(axes)
    assert [record.getMessage().count("\U00013000") for record in caplog.records] == [1]


# Activations


def test_hidden_units_over_a_text(model):
    text = "The cat sees a zebra. Is it a dog?"
    x, _ = model.vocabulary_.transform([text])
    expected = np.concatenate([sentence[0]["h"] for sentence in model.model_.activations(x)])
    axes = drawn(plot_hidden(model, text, units=4))
    units = [int(label.get_text()) for label in axes.get_yticklabels()]
    assert {*units} == {*np.argsort(-expected.std(axis=0))[:4]}
    assert np.array_equal(axes.images[0].get_array(), expected[:, units].T)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["<s>", "the", "cat", "sees", "a", "zebra*", ".", "<s>", "is", "it", "a", "dog", "?"]
    assert [line.get_xdata()[0] for line in axes.lines] == [6.5]
    assert axes.get_title("left") == "h of layer 0, the 4 most varying of 6 units"
    axes = plot_hidden(model, text, layer=0, units=[5, 2])
    assert np.array_equal(axes.images[0].get_array(), expected[:, [5, 2]].T)
    assert "all 6 units" in plot_hidden(model, "Cat").get_title("left")


def test_a_long_text_is_cut_in_a_heat_map(model):
    axes = plot_hidden(model, "The cat " + "sees the dog and " * 30 + "internationalization" * 3)
    assert axes.get_title("left").endswith("; the first 48 of 124 tokens")
    assert len(axes.get_xticklabels()) == axes.images[0].get_array().shape[1] == 48
    label = plot_hidden(model, "internationalization" * 3).get_xticklabels()[1].get_text()
    assert label == "internationaliz…"


@pytest.mark.parametrize(("cell", "names"), [("gru", ["z", "r", "g"]), ("lstm", ["i", "f", "o", "g"])])
def test_gates_over_a_text(cell, names):
    model, text = fit(cell), "The cat sees a dog. It is."
    x, _ = model.vocabulary_.transform([text])
    found = model.model_.activations(x)
    expected = {name: np.concatenate([sentence[0][name] for sentence in found]) for name in names}
    panels = plot_gates(model, text)
    drawn(panels[0])
    assert [panel.get_ylabel() for panel in panels] == names
    for name, panel in zip(names, panels, strict=True):
        means = np.array(panel.lines[0].get_ydata())
        assert np.isnan(means[7]) and np.allclose(np.delete(means, 7), expected[name].mean(axis=1))
        assert panel.get_ylim() == ((-1, 1) if name == "g" else (0, 1))
    assert [label.get_text() for label in panels[-1].get_xticklabels()][:3] == ["<s>", "the", "cat"]
    assert {label.get_text() for label in panels[0].get_xticklabels()} == {""}
    for name, panel in zip(names, plot_gates(model, text, units=[3, 1]), strict=True):
        assert np.array_equal(panel.images[0].get_array(), expected[name][:, [3, 1]].T)
        assert panel.images[0].get_clim() == ((-1, 1) if name == "g" else (0, 1))


def test_errors_of_activations(model):
    for layer, error in ((1, "found 1, expected an int >= -1 and <= 0"), (-2, "found -2, expected an int >= -1")):
        with pytest.raises(ValueError, match=f"layer: {error}"):
            plot_hidden(model, "cat", layer=layer)
    wrong = (0, "found 0, expected an int >= 1"), ([6], "found 6, expected an int >= 0 and <= 5"), ([], "none")
    for units, error in wrong:
        with pytest.raises(ValueError, match=f"units: .*{error}" if units == [] else f"units: {error}"):
            plot_hidden(model, "cat", units=units)
    with pytest.raises(ValueError, match="found the cell 'rnn', which has no gates"):
        plot_gates(fit("rnn"), "cat")
    with pytest.raises(ValueError, match="ax: found 2 axes, expected 3, one for each gate z, r, g"):
        plot_gates(model, "cat", ax=list(pyplot.subplots(2)[1]))
    assert len(plot_gates(model, "cat", ax=pyplot.subplots(3)[1])) == 3


def test_without_matplotlib_the_error_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (lambda: plot_losses([model]), lambda: plot_surprisal(model, "cat"), lambda: plot_hidden(model, "cat")):
        with pytest.raises(ImportError, match="pip install matplotlib"):
            draw()
    assert surprisal_line(model, "cat").startswith("cat(")


def test_colours_of_runs_differ_in_grey_by_their_marks():
    assert len({to_rgb(color) for color in plots.COLORS}) == len(plots.COLORS) == len({*plots.MARKERS})
