"""Signals that are held back, and those that are not."""

import signal
import sys
import threading

import pytest

from fastrnn.training.interruption import HeldInterrupts, Terminated, sigterm_interrupts

INT, TERM = signal.SIGINT, signal.SIGTERM
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def handlers_are_put_back():
    before = [signal.getsignal(number) for number in (INT, TERM)]
    yield
    after = [signal.getsignal(number) for number in (INT, TERM)]
    for number, handler in zip((INT, TERM), before, strict=True):
        signal.signal(number, handler)
    assert after == before


def test_sigterm_raises_in_the_block_only():
    assert signal.getsignal(TERM) is signal.SIG_DFL
    with pytest.raises(Terminated), sigterm_interrupts():
        signal.raise_signal(TERM)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_another_handler_stays(handler):
    signal.signal(TERM, handler)
    signal.signal(INT, handler)
    with sigterm_interrupts(), HeldInterrupts() as interrupts:
        assert signal.getsignal(TERM) == signal.getsignal(INT) == handler
        signal.raise_signal(TERM)
        signal.raise_signal(INT)
    assert signal.getsignal(TERM) == handler and not interrupts.received
    signal.signal(TERM, signal.SIG_DFL)
    signal.signal(INT, signal.default_int_handler)


def test_without_the_block_sigterm_is_nobody_s():
    with HeldInterrupts():
        assert signal.getsignal(TERM) is signal.SIG_DFL


def test_all_are_held_back_or_so_many():
    with sigterm_interrupts(), HeldInterrupts() as interrupts:
        for number in (INT, TERM, INT):
            signal.raise_signal(number)
    assert interrupts.received == [INT, TERM, INT]
    with pytest.raises(Terminated):
        interrupts.raise_received()
    with HeldInterrupts(at_most=1) as interrupts:
        signal.raise_signal(INT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(INT)
    with pytest.raises(KeyboardInterrupt) as caught:
        interrupts.raise_received()
    assert caught.type is KeyboardInterrupt


def test_blocks_in_blocks_hear_of_the_same():
    with sigterm_interrupts(), HeldInterrupts() as outer:
        signal.raise_signal(INT)
        with HeldInterrupts(at_most=1) as inner:
            assert inner.received == [INT]  # what came before it counts
        with HeldInterrupts(at_most=2) as inner:
            signal.raise_signal(TERM)
            assert inner.received == outer.received == [INT, TERM]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(INT)
        signal.raise_signal(INT)
    assert outer.received == [INT, TERM, INT, INT]


def test_other_threads_leave_signals_alone():
    found = []

    def work():
        with sigterm_interrupts(), HeldInterrupts() as interrupts:
            found.extend([signal.getsignal(INT), signal.getsignal(TERM), interrupts.received])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(INT), signal.getsignal(TERM), []]
