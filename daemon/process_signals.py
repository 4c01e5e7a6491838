"""The signals of the service's process: they are held, and taken by its main thread."""

import os
import signal
from collections.abc import Set

ENDING = {signal.SIGTERM, signal.SIGINT}
SIGNALS = ENDING | {signal.SIGHUP}


def hold_signals() -> None:
    """Keep the signals of the service from ending the process until it takes them.

    Threads inherit it, those of a pool of sessions too: so it comes before the state is opened.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def received(signals: Set[signal.Signals], seconds: float) -> int | None:
    """Wait for a signal; return None after so long.

    `sigtimedwait` of a process that was stopped for longer returns a signal that nobody has sent.
    """
    found = signal.sigtimedwait(signals, seconds)
    return found.si_signo if found is not None and found.si_signo in signals else None


def kill_process() -> None:
    """End the process by the default action of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)
