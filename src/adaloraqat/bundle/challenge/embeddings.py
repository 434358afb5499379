"""One embedding a slice, and no more memory than a volume of any depth may take."""

from collections import OrderedDict
from collections.abc import Collection

from adaloraqat.bundle.challenge.stopwatch import Stopwatch
from adaloraqat.bundle.segmenter import Embedded, Segmenter
from adaloraqat.radiograph import Case

KEPT_BYTES = 256 << 20
"""What embeddings that are needed a second time may take; beyond it, the oldest are encoded again."""


class Embeddings:
    """The slices of a case, encoded when they are asked for.

    `encoded` counts the encoder's runs. An embedding is kept only while `again` says that its slice is
    needed once more: the way up through the slices comes first, the way down asks for the last kept first.
    """

    def __init__(self, segmenter: Segmenter, case: Case, again: Collection[int], watch: Stopwatch) -> None:
        self._segmenter = segmenter
        self._case = case
        self._again = set(again)
        self._watch = watch
        self._kept: OrderedDict[int, Embedded] = OrderedDict()
        self._bytes = 0
        self.encoded = 0

    def __getitem__(self, z: int) -> Embedded:
        """Return slice z encoded.

        Raises:
            FilmError: the slice holds values that are not finite.
        """
        if z in self._kept:
            embedded = self._kept.pop(z)
            self._bytes -= embedded.embedding.nbytes
            return embedded
        with self._watch.part("read"):
            pixels = self._case.pixels(z)
        with self._watch.part("encode"):
            embedded = self._segmenter.embed(pixels)
        self.encoded += 1
        if z in self._again:
            self._again.remove(z)
            self._keep(z, embedded)
        return embedded

    def _keep(self, z: int, embedded: Embedded) -> None:
        self._kept[z] = embedded
        self._bytes += embedded.embedding.nbytes
        while self._bytes > KEPT_BYTES and self._kept:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.embedding.nbytes
