"""What training tells while it runs: a bar for every epoch, and once how long all of it will take."""

import sys
from contextlib import nullcontext

# Seconds of training that are measured before it is told how long all epochs will take, and how long that must be.
MEASURED = 5.0
WORTH_TELLING = 60.0
BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} tokens{postfix}, {elapsed}<{remaining}"


class Progress:
    """Progress of training on standard error: a bar with the loss and tokens per second, one line of forecast.

    Parameters
    ----------
    verbose : bool
        False shows nothing.
    """

    def __init__(self, verbose):
        self._verbose, self._bar = bool(verbose), None
        self._forecast, self._is_told = Forecast(), not verbose

    def begin(self, title, tokens, done):
        """Begin the bar of an epoch of so many tokens, some of which are done already."""
        from tqdm import tqdm

        self._bar = tqdm(
            total=tokens, initial=done, desc=title, disable=not self._verbose, unit_scale=True, file=sys.stderr,
            bar_format=BAR,
        )  # fmt: skip

    def advance(self, tokens, seconds, loss, epochs_after, until=""):
        """Tokens were trained on, and the mean loss is `loss`, or None.

        Parameters
        ----------
        tokens : int
        seconds : float
            That it took.
        loss : float or None
        epochs_after : int
            Epochs that follow the one of the bar.
        until : str
            What may end the training before.
        """
        if loss is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}, {tokens / seconds:,.0f} tokens/s", refresh=False)
        self._bar.update(tokens)
        self._forecast.add(tokens, seconds)
        if not self._is_told and self._forecast.is_known():
            self._is_told = True
            left = self._forecast.seconds(self._bar.total - self._bar.n + epochs_after * self._bar.total)
            if left > WORTH_TELLING:
                epochs = f"{epochs_after + 1} epoch{'s' if epochs_after else ''}"
                with self.aside():
                    print(f"about {duration(left)} for {epochs}{until}", file=sys.stderr, flush=True)

    def tell(self, text):
        """Replace what the bar says after the numbers of tokens."""
        self._bar.set_postfix_str(text)

    def aside(self):
        """A context for lines on standard error, which must not go on where the bar ends."""
        return nullcontext() if self._bar is None or self._bar.disable else self._bar.external_write_mode(sys.stderr)

    def close(self):
        """End the epoch's bar, if there is one, with its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Forecast:
    """How long training takes, from what was measured. The first call is left out: kernels are compiled in it."""

    def __init__(self):
        self._calls, self._tokens, self._seconds = 0, 0, 0.0

    def add(self, tokens, seconds):
        """So many tokens took so long."""
        self._calls += 1
        if self._calls > 1:
            self._tokens += tokens
            self._seconds += seconds

    def is_known(self):
        return self._tokens > 0 and self._seconds >= MEASURED

    def seconds(self, tokens):
        """That so many tokens will take."""
        return tokens * self._seconds / self._tokens


def duration(seconds):
    """A time in words, to two digits: "90 seconds", "12 minutes", "3.5 hours", "2 days"."""
    lengths = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
    unit = "second" if seconds < 100 else "minute" if seconds < 100 * 60 else "hour" if seconds < 48 * 3600 else "day"
    number = float(f"{seconds / lengths[unit]:.2g}")
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
