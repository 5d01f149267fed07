"""Why a process ended, in words."""

from __future__ import annotations

import signal


def cause_of_exit(exit_code: int | None) -> str:
    """Say why a process ended, as far as its exit code tells.

    Args:
        exit_code: As multiprocessing gives it: negative = ended by that signal; None = it goes on without responding.

    Returns:
        A sentence without the full stop.
    """
    if exit_code is None:
        return "its process no longer answers: see what it has said on stderr"
    if exit_code == -signal.SIGKILL:
        return "its process was killed, as the system does when memory is short: choose a smaller profile"
    if exit_code < 0:
        return f"its process crashed with {_signal_name(-exit_code)}: see what it has said on stderr"
    return f"its process ended with code {exit_code}: see what it has said on stderr"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
