"""TFLite Micro's interpreter, the reference for the chip's arithmetic."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tflite_micro import runtime

ARENA = 1 << 20
"""Bytes that the interpreter is given on the host; what it uses is measured."""


class Reference:
    """A flatbuffer in the interpreter.

    Args:
        flatbuffer: of :func:`convert.flatbuffer.convert`.
    """

    def __init__(self, flatbuffer: bytes) -> None:
        self._interpreter = runtime.Interpreter.from_bytes(flatbuffer, arena_size=ARENA)
        inputs = [self._interpreter.get_input_details(i) for i in range(2)]
        self._embedding = next(i for i, d in enumerate(inputs) if len(d["shape"]) == 3)
        outputs = [self._interpreter.get_output_details(i) for i in range(2)]
        self._classes = next(i for i, d in enumerate(outputs) if len(d["shape"]) == 2)
        self.shape: tuple[int, ...] = tuple(inputs[self._embedding]["shape"])

    def encode(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int8 ``[n, E]`` of a sentence to the logits of the classes [C] and of its words' tags [n - 1, T]."""
        n, positions = len(embeddings), self.shape[1]
        padded = np.zeros(self.shape, np.int8)
        padded[0, :n] = embeddings
        mask = np.full((1, 1, 1, positions), -128, np.int8)
        mask[..., :n] = 127
        self._interpreter.set_input(padded, self._embedding)
        self._interpreter.set_input(mask, 1 - self._embedding)
        self._interpreter.invoke()
        classes = self._interpreter.get_output(self._classes)[0]
        return classes.copy(), self._interpreter.get_output(1 - self._classes)[0, : n - 1].copy()


def arena_bytes(flatbuffer: bytes) -> int:
    """What the interpreter allocates for a flatbuffer, by its own account.

    It prints that to the process's standard error, so a process of its own is asked.
    """
    script = (
        "import sys; from tflite_micro import runtime; import numpy as np\n"
        "i = runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))\n"
        "[i.set_input(np.zeros(i.get_input_details(k)['shape'], np.int8), k) for k in range(2)]\n"
        "i.invoke(); i.print_allocations()"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(flatbuffer)
        command = [sys.executable, "-c", script, str(path), str(ARENA)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = re.search(r"Arena allocation total (\d+) bytes", done.stdout + done.stderr)
    if found is None:
        raise RuntimeError("the interpreter did not print its allocations")
    return int(found[1])
