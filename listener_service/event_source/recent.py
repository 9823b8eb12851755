"""A bounded memory of what was delivered, so that duplicates can be dropped."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass(slots=True)
class Recent:
    """The tuples seen last, of numbers, strings and bytes. Lists and live streams overlap by seconds; the
    default is hours of commands.

    What is kept of a key is its hash: an endpoint may deliver events of any size.
    """

    capacity: int = 16_384
    _keys: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def is_new(self, key: tuple[object, ...]) -> bool:
        """Whether the key was not among those remembered. It is now."""
        known = hashlib.blake2b(repr(key).encode("utf-8", "surrogatepass"), digest_size=32).digest()
        if known in self._keys:
            self._keys.move_to_end(known)
            return False
        self._keys[known] = None
        if len(self._keys) > self.capacity:
            self._keys.popitem(last=False)
        return True
