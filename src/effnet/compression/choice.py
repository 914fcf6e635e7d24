"""How many channels of each kind go, so that a network keeps its limits at the least loss."""

import heapq
from collections.abc import Mapping, Sequence

from effnet.compression.channels import Channels
from effnet.compression.targets import amount
from effnet.compression.widths import additions, of_widths
from effnet.errors import UsageError
from effnet.measure.counts import Counts, count
from effnet.measure.limits import Limit, told
from effnet.nets.spec import Spec

GRAIN = 8
"""Widths are multiples of it where they can be: that many numbers a processor takes at a time."""
LEAST = 0.25
"""Share of its channels that every place keeps, as no layer can be spared whole."""


def fewest(width: int) -> int:
    """Return how few of so many channels may be left."""
    return min(width, max(GRAIN, -(-int(width * LEAST) // GRAIN) * GRAIN))


class Choice:
    """Widths that shrink, those first that are worth least for what they cost.

    Channels go by eights: of those that are left always the eight that are worth least per share
    that the unkept limits gain.

    Args:
        spec: of the network as it is.
        channels: all of its channels that can go.
        widths: the present ones, by name.
        floors: how narrow each may become; see `fewest`.
        resolution: in pixels, at which multiply-adds are counted.
    """

    def __init__(
        self,
        spec: Spec,
        channels: Sequence[Channels],
        widths: Mapping[str, int],
        floors: Mapping[str, int],
        resolution: int,
    ) -> None:
        self._spec, self._channels, self._resolution = spec, channels, resolution
        self._floors = floors
        self.widths = dict(widths)
        self._additions = tuple(additions(spec))
        self._whole = self._count(self.widths)

    def shrink(self, limits: Sequence[Limit]) -> None:
        """Lower `widths` until all limits are kept.

        Raises:
            UsageError: there are not enough channels that may go.
        """
        # A place saves less the narrower its neighbours have become, so its price only rises: what
        # is first in the queue, once its price is brought up to date, is the cheapest of all.
        queue = [(0.0, number) for number in range(len(self._channels))]
        now = self._whole
        while unkept := [one for one in limits if not one.kept(amount(now, one.quantity))]:
            if not queue:
                raise UsageError(self._too_much(unkept, now))
            _, number = heapq.heappop(queue)
            narrower = self._narrower(self._channels[number])
            if narrower is None:
                continue
            counts = self._count(narrower)
            price = self._price(self._channels[number], narrower, now, counts, unkept)
            if queue and price > queue[0][0]:
                heapq.heappush(queue, (price, number))
                continue
            self.widths, now = narrower, counts
            heapq.heappush(queue, (price, number))

    def removed(self) -> list[tuple[Channels, int]]:
        """Return how many of each kind of channels go."""
        return [(one, one.width - self.widths[next(iter(one.names))]) for one in self._channels]

    def _count(self, widths: Mapping[str, int]) -> Counts:
        return count(of_widths(self._spec, widths), self._resolution)

    def _narrower(self, channels: Channels) -> dict[str, int] | None:
        """Return the widths with the next narrower one of some channels; None if there is none."""
        name = next(iter(channels.names))
        width = self.widths[name]
        while (width := (width - 1) // GRAIN * GRAIN) >= self._floors[name]:
            found = {**self.widths, **dict.fromkeys(channels.names, width)}
            if tuple(additions(of_widths(self._spec, found))) == self._additions:
                return found
        return None

    def _price(
        self,
        channels: Channels,
        narrower: Mapping[str, int],
        now: Counts,
        then: Counts,
        unkept: Sequence[Limit],
    ) -> float:
        name = next(iter(channels.names))
        before, after = (channels.width - widths[name] for widths in (self.widths, narrower))
        worth = channels.cost_of(after) - channels.cost_of(before)
        gained = sum(
            (amount(now, one.quantity) - amount(then, one.quantity))
            / amount(self._whole, one.quantity)
            for one in unkept
        )
        return worth / gained if gained > 0 else float("inf")

    def _too_much(self, unkept: Sequence[Limit], now: Counts) -> str:
        return (
            f"{self._spec.name} cannot be pruned to {', '.join(map(str, unkept))}: with a quarter "
            "of its channels left everywhere it has still "
            f"{', '.join(told(one.quantity, amount(now, one.quantity)) for one in unkept)}. "
            "Take a smaller variant, and distil: effnet distil."
        )
