"""Stand-ins live beside these tests and are imported by name; one thread keeps numbers and timings steady.

No test of this room reaches beyond this machine: a connection to another address fails, and so does a question for one.
"""

import socket
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class NetworkError(AssertionError):
    """A test tried to reach another machine."""


def _local(address):
    return not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1", "localhost")


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    """Sockets connect to this machine only."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            inner = getattr(socket.socket, name)

            def guarded(self, *given, _inner=inner):
                if not _local(given[-1]):
                    raise NetworkError(f"a test of the evaluation room tried to reach {given[-1]}")
                return _inner(self, *given)

            patch.setattr(socket.socket, name, guarded)
        asked = socket.getaddrinfo

        def resolved(host, *given, **named):
            if host not in (None, "127.0.0.1", "::1", "localhost"):
                raise NetworkError(f"a test of the evaluation room asked where {host} is")
            return asked(host, *given, **named)

        patch.setattr(socket, "getaddrinfo", resolved)
        yield


@pytest.fixture(scope="session")
def model():
    from evaluation_standins import loaded_model

    return loaded_model()
