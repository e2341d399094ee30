"""TensorFlow as this project runs it: without its chatter on the terminal, its operations side by side, and not
interrupted in the middle of one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel(logging.ERROR)  # steps that are traced anew for every student
# A step is of many small operations. On two cores those of a student take a third less time if each is on one core and
# two run at once than if two cores share each; those of a teacher take as long.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C meanwhile takes effect at the end.

    An exception in the middle of TensorFlow's own calls of Python (tracing, above all) can end in a segmentation fault.
    """
    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def native_silence() -> Iterator[None]:
    """Drops what native code writes to the process's standard error meanwhile.

    Importing TensorFlow and its converter log there, whatever the log level. Python's exceptions pass through.
    """
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
