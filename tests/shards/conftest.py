"""What the tests of `blocks/shards` share: journals that are synced at once, and a journal thread that may break."""

import pytest

from blocks.shards import journal


@pytest.fixture(autouse=True)
def quick_sync(monkeypatch):
    """These tests start many runs in one process."""
    monkeypatch.setattr(journal, "PERIOD", 0.005)


@pytest.fixture
def own_syncer(monkeypatch):
    """The test may break the journal thread without the other tests noticing; a call gives it another one."""

    def renew():
        monkeypatch.setattr(journal, "_syncer", journal.Syncer())

    renew()
    return renew
