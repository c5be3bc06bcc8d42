"""Which network addresses a crawler may contact: public ones, and the private ones that the recipe names."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from gristmill.errors import UserError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 §2.1
IPV4_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291 §2.5.5.1
IPV4_TRANSLATED = ipaddress.ip_network("::ffff:0:0:0/96")  # RFC 2765 §2.1
ISATAP = (0x00005EFE, 0x02005EFE)  # third quarter of such an address, RFC 5214 §6.1
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291 §2.4: all that is assigned for public hosts
NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890: Python's is_global lets parts of it pass
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "2001::/23",  # IETF protocol assignments, Teredo among them, RFC 2928
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
    )
)


def parse_networks(networks: Sequence[str]) -> list[Any]:
    """The networks of `allow_networks`."""
    return [ipaddress.ip_network(network, strict=False) for network in networks]


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to (mapped, 6to4, NAT64, compatible, translated, ISATAP), or itself."""
    if isinstance(address, ipaddress.IPv6Address):
        number = int(address)
        if inner := address.ipv4_mapped or address.sixtofour:
            return inner
        carries = address in NAT64 or address in IPV4_TRANSLATED or (address in IPV4_COMPATIBLE and number > 1)
        if carries or (number >> 32) & 0xFFFFFFFF in ISATAP:
            return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return address


def is_allowed(text: str, networks: Sequence[Any]) -> bool:
    """Whether an IP address may be contacted. `is_global` alone passes multicast, NAT64 and 6to4."""
    address = embedded(ipaddress.ip_address(text.partition("%")[0]))
    if any(address in network for network in networks if network.version == address.version):
        return True
    if any(address in network for network in NEVER if network.version == address.version):
        return False
    if address.version == 6 and address not in GLOBAL_UNICAST:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def redirected(connect_to: Mapping[str, str], host: str) -> str:
    """Where to connect for a host: the `address:port` of the first pattern that matches, or nothing.

    Raises UserError where that is no `address:port`.
    """
    for pattern, target in connect_to.items():
        if fnmatch(host, pattern):
            address, _, number = target.rpartition(":")
            if not (address and number.isdigit()):
                raise UserError(f"crawl.connect_to: {target!r} is no address:port", "write it as 127.0.0.1:8000")
            return target
    return ""
