"""What every request passes before a route sees it: Host, Origin, token; and what every answer carries.

A page that somebody has open in a browser may talk to ``127.0.0.1`` on its owner's behalf. It cannot choose its ``Origin``, and
when its name is rebound to this address (DNS rebinding) it cannot choose ``Host``: both must be ours.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256

from visum.errors import UsageError
from visum.serve.refusal import Refusal

HERE = frozenset(("localhost", "127.0.0.1", "[::1]"))
ANYWHERE = frozenset(("", "0.0.0.0", "::"))
OPEN = ("/v2/health/", "/page/")
"""Paths that need no token begin like these; ``/`` itself, too."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self)"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
"""Of every answer, whatever it is."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Doors:
    """Who is let in.

    Attributes:
        hosts: names of this server, in lower case, IPv6 addresses in brackets.
        tokens: SHA-256 of each token; none: no token is asked for.
    """

    hosts: frozenset[str]
    tokens: tuple[bytes, ...]


def doors(host: str, port: int, allowed: Collection[str], tokens: Collection[str], unprotected: bool) -> Doors:
    """Doors of a server that is bound to ``host``.

    Args:
        host: address or name to be bound to.
        port: for the messages.
        allowed: other names of this server.
        tokens: that are accepted.
        unprotected: whether anyone may come from anywhere without a token.

    Raises:
        UsageError: other machines could come in without a token, or a token is too easily guessed.
    """
    for token in tokens:
        if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError(
                "a token is shorter than 16 characters, or has others than letters, digits and signs",
                allowed="16 or more printable ASCII characters",
                next=f"--token {secrets.token_urlsafe(24)}",
            )
    if not local(host) and not tokens and not unprotected:
        raise UsageError(
            f"--host {host} without a token: everyone who reaches this machine could use the server",
            allowed="127.0.0.1 without a token",
            next=f"VISUM_TOKEN={secrets.token_urlsafe(24)} visum serve …, or --open if a proxy in front asks for one",
        )
    names = {name.lower() for name in allowed} | HERE
    if host not in ANYWHERE:
        names.add(f"[{host.lower()}]" if ":" in host else host.lower())
    return Doors(frozenset(names), tuple(sha256(token.encode()).digest() for token in tokens))


def local(host: str) -> bool:
    """Whether only this machine reaches what is bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check(doors: Doors, path: str, headers: Mapping[str, str]) -> None:
    """Let a request in.

    Raises:
        Refusal: 403 for a foreign Host or Origin, 401 without a token that is accepted.
    """
    host = headers.get("host", "")
    found = _HOST.fullmatch(host.lower())
    if found is None or found[1] not in doors.hosts:
        raise Refusal(403, "This server does not go by that name", "visum serve … --allow-host NAME", close=True)
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
        raise Refusal(403, "Pages of other sites may not ask this server", "the server's own page", close=True)
    if doors.tokens and path != "/" and not path.startswith(OPEN):
        kind, _, token = headers.get("authorization", "").partition(" ")
        shown = sha256(token.strip().encode("utf-8", "replace")).digest()
        # all are compared, so that the time tells nothing
        right = [hmac.compare_digest(shown, each) for each in doors.tokens]
        if kind.lower() != "bearer" or not any(right):
            raise Refusal(401, "A token is needed", "the header: Authorization: Bearer TOKEN", close=True)


def identity(headers: Mapping[str, str]) -> str:
    """The request's own id if it brings a harmless one, else a new one."""
    brought = headers.get("x-request-id", "")
    return brought if _ID.fullmatch(brought) else secrets.token_hex(8)
