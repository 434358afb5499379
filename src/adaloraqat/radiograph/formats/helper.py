"""One lasting helper process for decoders that damaged bytes can kill.

gdcm ends the whole process (SIGABRT, SIGSEGV) at damaged JPEG streams, and OpenJPEG is C, too. They run in a
process of their own, which is started by the first film that needs it and again after a death; starting it
takes as long as importing pydicom. Pixels come back through a pipe, as raw numbers: nothing is unpickled.
"""

import atexit
import json
import math
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.radiograph.film import MAX_PIXELS
from adaloraqat.radiograph.formats.helper_process import LENGTHS

SECONDS = 120.0
"""Time for one film; the largest takes a sixth of it."""

_PROGRAM = Path(__file__).with_name("helper_process.py")
_MOST_BYTES = 3 * 4 * MAX_PIXELS  # of an answer: three channels of 32 bits


class DecoderDied(Exception):
    """The decoder ended at these bytes, or did not end in time."""


class Helper:
    """Decodes frames in a process that may die; one frame at a time, from any thread, and after a fork."""

    def __init__(self) -> None:
        """Start nothing: the first question does."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process's number, None while there is none."""
        return self._process.pid if self._process is not None else None

    def decode(
        self, syntax: str, plugin: str, frame: bytes, options: dict[str, Any], seconds: float = SECONDS
    ) -> NDArray[Any]:
        """Return one frame's values, (H, W) or (H, W, 3).

        Args:
            syntax: UID of the transfer syntax.
            plugin: pydicom's name of the decoder.
            frame: the compressed frame.
            options: `rows`, `columns` and so on, as pydicom's decoders take them.
            seconds: time after which the process is killed.

        Raises:
            DecoderDied: the process ended, or took too long.
            ValueError: the decoder refuses the frame.
        """
        if (
            os.getpid() != self._owner
        ):  # a forked child must not talk over its parent's pipe, nor wait for its lock
            self._lock, self._process, self._owner = threading.Lock(), None, os.getpid()
        question = json.dumps({"syntax": syntax, "plugin": plugin, **options}).encode()
        with self._lock:
            process = self._running()
            timer = threading.Timer(seconds, process.kill)
            timer.daemon = True
            timer.start()
            try:
                answer, data = _asked(process, question, frame)
            except BaseException:  # also Ctrl-C: half an answer would be taken for the next film's
                self.close()
                raise
            finally:
                timer.cancel()
        if "error" in answer:
            raise ValueError(answer["error"])
        return np.frombuffer(data, np.dtype(answer["dtype"])).reshape(answer["shape"])

    def close(self) -> None:
        """End the process, if this is the one that started it; the next question starts another."""
        process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not yet sent to it
                    pipe.close()
        process.wait()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM)],  # -P: the modules beside it are no top-level ones
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self.starts += 1
        return self._process


def _asked(process: "subprocess.Popen[bytes]", question: bytes, frame: bytes) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(LENGTHS.pack(len(question), len(frame)) + question)
        process.stdin.write(frame)
        process.stdin.flush()
        head, body = LENGTHS.unpack(_exactly(process.stdout, LENGTHS.size))
        if body > _MOST_BYTES:
            raise DecoderDied("the answer is larger than any film")
        answer = json.loads(_exactly(process.stdout, head))
        data = _exactly(process.stdout, body)
    except OSError as error:
        raise DecoderDied("the decoder ended") from error
    if "error" not in answer and body != math.prod(answer["shape"]) * np.dtype(answer["dtype"]).itemsize:
        raise DecoderDied("the answer is damaged")
    return answer, data


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise DecoderDied("the decoder ended")
    return data


HELPER = Helper()
"""The one of this process."""

atexit.register(HELPER.close)
