from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from dataprep.interrupts import interruptible


@pytest.fixture(autouse=True)
def _started_from_a_terminal() -> Iterator[None]:
    """Python's own handler: a shell starts what runs in its background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_is_noted_and_the_second_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible() as asked:  # noqa: PT012
        assert not asked.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(1)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
