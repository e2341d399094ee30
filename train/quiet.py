"""TensorFlow without its chatter on the terminal."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


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
