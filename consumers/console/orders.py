"""What was ordered lately, and what became of it. Pure and bounded."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from streams import control
from streams.messages import Control

MAX_ORDERS = 50
TOLD = frozenset({"state", "said"})


class OrderRow(msgspec.Struct, frozen=True):
    """One order; `state` is empty until somebody answers, then begun, done, refused or again, and `said` tells why."""

    command_id: str
    kind: str
    asked_by: str
    wall_ts_us: int
    arguments: dict[str, str]
    state: str = ""
    said: str = ""


class OrdersView:
    """The last orders, and which of them have changed."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, OrderRow] = OrderedDict()
        self._changed: dict[str, None] = {}

    def add(self, word: Control) -> None:
        """Take an order, or the answer to one; an answer to nothing that was asked here is passed over."""
        known = self._rows.get(word.command_id)
        arguments = {name: value for name, value in word.arguments.items() if name not in TOLD}
        if not control.is_answer(word):
            row = OrderRow(word.command_id, word.kind, word.asked_by, word.wall_ts_us, arguments)
            self._put(row if known is None else msgspec.structs.replace(row, state=known.state, said=known.said))
        elif known is not None:
            state, said = word.arguments["state"], word.arguments.get("said", "")
            self._put(msgspec.structs.replace(known, arguments=arguments, state=state, said=said))

    def _put(self, row: OrderRow) -> None:
        self._rows[row.command_id] = row
        self._changed[row.command_id] = None
        if len(self._rows) > MAX_ORDERS:
            self._rows.popitem(last=False)

    def get(self, command_id: str) -> OrderRow | None:
        """Return one order, None where it is not among the last ones."""
        return self._rows.get(command_id)

    def snapshot(self) -> list[OrderRow]:
        """Return all that are kept, the oldest first."""
        return list(self._rows.values())

    def changes(self) -> list[OrderRow]:
        """Return those that changed since the last call."""
        changed, self._changed = self._changed, {}
        return [self._rows[name] for name in changed if name in self._rows]
