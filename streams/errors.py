"""Every error that tickcast raises on purpose.

    TickcastError
    ├── UserError            the person at the keyboard can fix it: printed as one sentence, exit code 2
    │   ├── SettingsError    an unknown or impossible setting
    │   ├── EnvironmentFault a missing program, taken port, unreachable broker
    │   │   └── BrokerGone   no broker answers at the address that is set; it may come back
    │   └── SourceError      a source that is missing, unreadable or not of the expected shape
    │       └── Refused      a vendor does not give what is asked: key or subscription
    │           └── UnknownSymbol  it has never heard of the symbol
    ├── LineLost             the line to a vendor broke; it is built again
    │   └── Throttled        the vendor asks to wait
    ├── BadMessage           bytes on a topic that break the contract: goes to `dead_letters`, the stage goes on
    └── ModelError           a model file that is missing, damaged or of another feature version

`retriable` says whether trying the same call again may help without anybody acting.
"""

from __future__ import annotations


class TickcastError(Exception):
    """Root of the tree; its text is one sentence that says what to do."""

    retriable = False


class UserError(TickcastError):
    """Something that the person who started the command can mend; exit code 2."""


class SettingsError(UserError):
    """A setting is unknown, malformed or contradicts another."""


class EnvironmentFault(UserError):
    """The machine lacks something: Java, a free port, a reachable broker, a jar."""


class BrokerGone(EnvironmentFault):
    """No broker answers; a supervised role tries again."""

    retriable = True


class SourceError(UserError):
    """A source of ticks or headlines cannot be opened, or read as what it says it is."""


class Refused(SourceError):
    """A vendor does not let this user have what was asked for: a wrong key, an expired subscription."""


class UnknownSymbol(Refused):
    """A vendor does not know the symbol: another may be asked for."""


class LineLost(TickcastError):
    """The line to a vendor broke or said nothing intelligible; connecting again may help."""

    retriable = True


class Throttled(LineLost):
    """The vendor answers too many requests; `after_s` is how long it wants to be left alone, 0 where it does not say."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class BadMessage(TickcastError):
    """Bytes that do not follow the contract of their topic.

    Parameters
    ----------
    reason : str
        What is wrong, for `dead_letters.message`.
    error_class : str
        A short stable name to count by, for `dead_letters.error_class`.
    """

    def __init__(self, reason: str, error_class: str = "malformed") -> None:
        super().__init__(reason)
        self.error_class = error_class


class ModelError(TickcastError):
    """A model cannot be used as it is; whoever serves keeps the one it has."""
