"""Block lists of hosts and addresses, from files: plain hosts, Adblock `||host^`, and hosts files (`0.0.0.0 host`)."""

from __future__ import annotations

import gzip
import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_COMMENTS = ("#", ";", "!", "[")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_ADBLOCK = re.compile(r"\|\|([a-z0-9_.-]+)\^?(?:\$(?:third-party|popup|document|all|important|,)*)?")
_NOTE = re.compile(r"\s#.*")
_LOCAL = frozenset({"localhost", "localhost.localdomain", "localdomain", "local", "broadcasthost", "0.0.0.0"})  # noqa: S104

# Second-level labels under which a country's registry registers names: the everyday part of the Public Suffix List.
_REGISTRIES = frozenset(
    {"ac", "co", "com", "edu", "gob", "gouv", "gov", "gv", "ltd", "mil", "ne", "net", "nom", "or", "org", "plc"}
)


class BlockListError(ValueError):
    """A block list cannot be read or holds no entry."""


@dataclass(frozen=True)
class BlockList:
    """Hosts (which stand for their subdomains too) and single addresses `host/path`; `skipped` lines were neither."""

    hosts: frozenset[str]
    addresses: frozenset[str]
    skipped: int = field(default=0, compare=False)

    def matches(self, url: str) -> bool:
        """Whether the URL's host, one of the domains above it, or the address itself is on the list."""
        host = host_of(url)
        if not host:
            return False
        return any(name in self.hosts for name in domains_above(host)) or (
            bool(self.addresses) and address_of(url) in self.addresses
        )


def read_block_list(path: str | Path) -> BlockList:
    """Reads a list (`.gz` too); rules that are neither a host nor an address are counted in `skipped`.

    Raises:
        BlockListError: for a file that is missing, damaged, not UTF-8, or holds no entry.
    """
    hosts: set[str] = set()
    addresses: set[str] = set()
    skipped = 0
    for line in _lines(Path(path)):
        text = line.strip().lower()
        if not text or text.startswith(_COMMENTS):
            continue
        entries = _entries(text)
        skipped += not entries
        for entry in entries:
            (addresses if "/" in entry else hosts).add(entry)
    if not hosts and not addresses:
        raise BlockListError(f"{path} holds no entry: give hosts, ||host^ rules, or a hosts file")
    return BlockList(frozenset(hosts), frozenset(addresses), skipped)


def host_of(url: str) -> str:
    """The host of a URL in small letters, without user, port, final dot and one leading `www.`; "" where there is none.

    Dolma strips every leading `w` and `.` (`lstrip("www.")`), which turns `wikipedia.org` into `ikipedia.org`.
    """
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""
    return host.rstrip(".").removeprefix("www.")


def address_of(url: str) -> str:
    """`host/path` of a URL, without scheme, user, port, query, fragment and final slashes."""
    try:
        path = urlsplit(url if "//" in url else f"//{url}").path
    except ValueError:
        return ""
    return f"{host_of(url)}{path}".rstrip("/").lower()


def domains_above(host: str) -> list[str]:
    """The host, then every domain it belongs to, down to the top: `a.b.org`, `b.org`, `org`. An IP address: itself."""
    if is_address(host):
        return [host]
    parts = host.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def registered_domain(host: str) -> str:
    """The domain somebody registered: the last two labels, three under a country's registry (`example.co.uk`).

    A rule of thumb, not the Public Suffix List. An IP address or a single label is returned as it is.
    """
    parts = host.split(".")
    if len(parts) < 3 or is_address(host):
        return host
    under_registry = len(parts[-1]) == 2 and parts[-2] in _REGISTRIES
    return ".".join(parts[-3:] if under_registry else parts[-2:])


def is_address(host: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _entries(text: str) -> list[str]:
    if rule := _ADBLOCK.fullmatch(text):
        return _hosts([rule[1]])
    words = _NOTE.sub("", text).split()
    if not words or any("#" in word for word in words):
        return []  # `example.com##.banner` hides a part of a page, it does not block the host
    if len(words) > 1:
        # A hosts file: the address to send them to, then the hosts.
        return _hosts(words[1:]) if is_address(words[0]) else []
    if "/" in words[0].removesuffix("/").removeprefix("https://").removeprefix("http://"):
        address = address_of(words[0])
        return [address] if _hosts([address.split("/")[0]]) and "/" in address else []
    return _hosts([host_of(words[0])])


def _hosts(names: list[str]) -> list[str]:
    cleaned = [name.rstrip(".").removeprefix("*.").removeprefix("www.") for name in names]
    return [name for name in cleaned if name not in _LOCAL and (_HOST.fullmatch(name) or is_address(name))]


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().splitlines()
    except FileNotFoundError:
        raise BlockListError(f"{path} is missing: give the file of a block list") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BlockListError(f"{path} cannot be read as a block list: {error}") from None
