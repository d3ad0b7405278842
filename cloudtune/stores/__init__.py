"""Where the journal of an experiment is kept."""

from cloudtune.stores.file import FileStore
from cloudtune.stores.journal_index import Segment
from cloudtune.stores.memory import MemoryStore

__all__ = ["FileStore", "MemoryStore", "Segment"]
