"""A mail server for each test."""

from collections.abc import Iterator

import pytest

from tests.outreach.post import Sink, served
from tests.ports import free_port


@pytest.fixture
def smtp() -> Iterator[tuple[Sink, str]]:
    sink = Sink()
    with served(sink, free_port()) as url:
        yield sink, url
