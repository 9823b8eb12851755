"""A bounded memory of what was delivered, so that duplicates can be dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Recent:
    """The keys seen last. Lists and live streams overlap by seconds; the default is hours of commands."""

    capacity: int = 16_384
    _keys: OrderedDict[Hashable, None] = field(default_factory=OrderedDict)

    def is_new(self, key: Hashable) -> bool:
        """Whether the key was not among those remembered. It is now."""
        if key in self._keys:
            self._keys.move_to_end(key)
            return False
        self._keys[key] = None
        if len(self._keys) > self.capacity:
            self._keys.popitem(last=False)
        return True
