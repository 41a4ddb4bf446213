"""Security groups as nftables rules in an instance's own network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

PROTOCOLS = {"tcp": "tcp", "udp": "udp", "6": "tcp", "17": "udp"}


@dataclass(frozen=True)
class Rule:
    """Traffic that may come in: a protocol ("-1" for all), its ports, and where from."""

    protocol: str
    first: int | None
    last: int | None
    source: str

    def render(self) -> str:
        """Return the rule in nftables' words."""
        network = ipaddress.ip_network(self.source, strict=False)
        family = "ip" if network.version == 4 else "ip6"
        source = f"{family} saddr {network}"
        if self.protocol == "-1":
            return f"{source} accept"
        if self.protocol in PROTOCOLS:
            return f"{source} {PROTOCOLS[self.protocol]} dport {self.first}-{self.last} accept"
        if self.protocol in {"icmp", "1", "icmpv6", "58"}:
            word = "icmp" if self.protocol in {"icmp", "1"} else "icmpv6"
            # For ICMP, AWS keeps type and code in the place of the ports; -1 is any.
            kind = "" if self.first in {None, -1} else f" {word} type {self.first}"
            code = "" if not kind or self.last in {None, -1} else f" {word} code {self.last}"
            return f"{source} meta l4proto {'icmp' if word == 'icmp' else 'ipv6-icmp'}{kind}{code} accept"
        return f"{source} meta l4proto {self.protocol} accept"


def ruleset(rules: Iterable[Rule]) -> str:
    """Return the whole table: what no rule names is dropped, silently, before any port forwarding on the instance.

    Like a security group it watches the network interface only, not what the instance says to itself or to its
    containers.
    """
    lines = sorted({rule.render() for rule in rules})
    body = "".join(f"    {line}\n" for line in lines)
    return (
        "add table inet lab\n"
        "delete table inet lab\n"
        "table inet lab {\n"
        "  chain inbound {\n"
        "    type filter hook prerouting priority -150; policy accept;\n"
        '    iifname != "eth*" accept\n'
        "    ct state established,related accept\n"
        "    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept\n"
        f"{body}"
        "    drop\n"
        "  }\n"
        "}\n"
    )
