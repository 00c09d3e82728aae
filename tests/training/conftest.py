"""The nets of these tests are so small that one thread is fastest."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass
