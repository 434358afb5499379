"""The process that decodes what can end a process, see `helper`; a script that imports nothing of ours.

A question on stdin is two lengths (>II), as many bytes of JSON (`syntax`, `plugin`, pydicom's options for
decoders) and as many of one compressed frame. The answer on stdout is laid out alike: {"dtype", "shape"} and
the pixels, or {"error": text} and nothing. It ends with its parent, whose end closes stdin.
"""

import json
import os
import signal
import struct
import sys
import warnings
from typing import Any, BinaryIO

LENGTHS = struct.Struct(">II")
MOST_MEMORY = 8 << 30  # bytes of address space; a damaged header may ask for any amount


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer one question after the other until there are no more."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    while len(lengths := questions.read(LENGTHS.size)) == LENGTHS.size:
        head, body = (questions.read(length) for length in LENGTHS.unpack(lengths))
        options: dict[str, Any] = json.loads(head)
        syntax, plugin = options.pop("syntax"), options.pop("plugin")
        try:
            pixels, _ = get_decoder(syntax).as_array(
                encapsulate([body]), decoding_plugin=plugin, number_of_frames=1, **options
            )
            answer, data = {"dtype": pixels.dtype.str, "shape": pixels.shape}, pixels.tobytes()
        except Exception as error:  # each decoder has its own
            answer, data = {"error": f"{type(error).__name__}: {error}"}, b""
        text = json.dumps(answer).encode()
        answers.write(LENGTHS.pack(len(text), len(data)) + text)
        answers.write(data)
        answers.flush()


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):  # Windows, or a lower limit is set already
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    warnings.simplefilter("ignore")
    _limit_memory()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not stand among the answers
    serve(sys.stdin.buffer, answers)
