"""Ctrl-C, and SIGTERM where it is to end a program as Ctrl-C does, held back while work must not be torn apart."""

import signal
import threading
from contextlib import contextmanager


class Terminated(KeyboardInterrupt):
    """SIGTERM came, in a block of `sigterm_interrupts`."""


@contextmanager
def sigterm_interrupts():
    """SIGTERM raises `Terminated` in the block, unless the process has a handler of its own or ignores it."""
    is_ours = _is_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if is_ours:
        signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class HeldInterrupts:
    """A context in which Ctrl-C raises nothing: what came is in `received`.

    So does SIGTERM in a block of `sigterm_interrupts`; other handlers stay as they are. What a block around this one
    holds back is in `received`, too. In a thread other than the main one, where no signal arrives, it does nothing.

    Parameters
    ----------
    at_most : int, optional
        So many signals are held back, and further ones raise KeyboardInterrupt; by default all are.
    """

    def __init__(self, at_most=None):
        self.at_most, self.received = at_most, []
        self._before = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM) if _is_main_thread() else ():
            handler = signal.getsignal(number)
            outer = _holder(handler)
            if outer or handler in (signal.default_int_handler, _raise_terminated):
                self._before[number] = signal.signal(number, self._note)
            self.received += [earlier for earlier in (outer.received if outer else ()) if earlier == number]
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_received(self):
        """Raise what the last signal was held back from raising."""
        raise Terminated if signal.SIGTERM in self.received else KeyboardInterrupt

    def _note(self, number, frame):
        before = self._before[number]
        if _holder(before):  # a block around this one hears of it, too
            before(number, frame)
        self.received.append(number)
        if self.at_most is not None and len(self.received) > self.at_most:
            raise KeyboardInterrupt


def _holder(handler):
    """The `HeldInterrupts` that a signal's handler belongs to, or None."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, HeldInterrupts) else None


def _is_main_thread():
    return threading.current_thread() is threading.main_thread()


def _raise_terminated(*_):
    raise Terminated
