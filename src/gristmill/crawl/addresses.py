"""Which network addresses a crawler may contact: public ones, and the private ones that the recipe names."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from gristmill.errors import UserError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 §2.1
IPV4_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291 §2.5.5.1


class RefusedAddress(OSError):
    """An address that is private and not allowed by the recipe."""


def parse_networks(networks: Sequence[str]) -> list[Any]:
    """The networks of `allow_networks`. Raises UserError naming one that is none."""
    parsed = []
    for network in networks:
        try:
            parsed.append(ipaddress.ip_network(network, strict=False))
        except ValueError as error:
            raise UserError(f"crawl.allow_networks: {error}", "write networks as 127.0.0.0/8") from error
    return parsed


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64, compatible), or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or address.sixtofour:
            return address.ipv4_mapped or address.sixtofour or address
        if address in NAT64 or (address in IPV4_COMPATIBLE and int(address) > 1):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_allowed(text: str, networks: Sequence[Any]) -> bool:
    """Whether an IP address may be contacted. `is_global` alone passes multicast, NAT64 and 6to4."""
    address = embedded(ipaddress.ip_address(text.partition("%")[0]))
    if any(address in network for network in networks if network.version == address.version):
        return True
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class CheckedResolver(AbstractResolver):
    """Resolves names, applies `connect_to`, and lets only allowed addresses through.

    The check is made on the very addresses that the connection then uses, so a name that changes its address between
    check and use gains nothing.
    """

    def __init__(self, connect_to: Mapping[str, str], networks: Sequence[Any]) -> None:
        self.connect_to, self.networks = connect_to, networks

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a host. Raises RefusedAddress where all of them are private and not allowed."""
        import asyncio

        target, target_port = redirected(self.connect_to, host, port)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(target, target_port, type=socket.SOCK_STREAM, family=family)
        allowed = [entry for entry in found if is_allowed(str(entry[4][0]), self.networks)]
        if found and not allowed:
            raise RefusedAddress(f"{host} has the private address {found[0][4][0]}")
        return [
            ResolveResult(
                hostname=host,
                host=str(entry[4][0]),
                port=int(entry[4][1]),
                family=entry[0],
                proto=entry[2],
                flags=socket.AI_NUMERICHOST,
            )
            for entry in allowed
        ]

    async def close(self) -> None:
        """Nothing is held."""


def redirected(connect_to: Mapping[str, str], host: str, port: int) -> tuple[str, int]:
    """Where to connect for a host: the first matching pattern's `address:port`, else the host itself."""
    for pattern, target in connect_to.items():
        if fnmatch(host, pattern):
            address, _, number = target.rpartition(":")
            if not (address and number.isdigit()):
                raise UserError(f"crawl.connect_to: {target!r} is no address:port", "write it as 127.0.0.1:8000")
            return address.strip("[]"), int(number)
    return host, port
