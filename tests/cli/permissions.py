"""Permissions that hold for root too, who may run the tests."""

import ctypes
import signal
import sys


def obey_permissions() -> None:
    """Give up, where root runs the tests, what lets root into every folder; as it holds from exec on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        drop_from_bounding_set, override, read_search = 24, 1, 2  # prctl.h and capability.h
        for capability in (override, read_search):
            ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)
