"""A set of numbers from which some are taken, in memory and time proportional to what was taken."""

from __future__ import annotations


class Pool:
    """The numbers ``0 .. size - 1`` that are left. Every operation is O(1), also for a size of ``10**18``.

    An array that is shuffled as numbers are taken (the last one moves to the gap); only positions that differ
    from the identity are stored.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._at: dict[int, int] = {}
        self._where: dict[int, int] = {}
        self._size = size

    def __len__(self) -> int:
        return self._left

    def __contains__(self, number: int) -> bool:
        return 0 <= number < self._size and self._where.get(number, number) < self._left

    def __getitem__(self, position: int) -> int:
        """The number at ``position``, for ``0 <= position < len(self)``; each is at one position."""
        return self._at.get(position, position)

    def take(self, number: int) -> None:
        """Removes ``number``; does nothing if it is gone."""
        if number not in self:
            return
        gap = self._where.get(number, number)
        self._left -= 1
        last = self._at.get(self._left, self._left)
        self._put(last, gap)
        self._put(number, self._left)

    def _put(self, number: int, position: int) -> None:
        self._at[position] = number
        self._where[number] = position
