"""What a URL may be before a key or a customer's text is sent to it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def url_problem(url: str) -> str:
    """Why nothing may be sent to `url`; empty when it may. Never repeats the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "a text that is no URL"
    if parts.username or parts.password:
        return "a URL that holds credentials"
    if not host:
        return "a URL that names no host"
    if parts.scheme == "http" and not is_private(url):
        return "plain http to a host that is neither loopback nor a private address"
    return ""


def is_private(url: str) -> bool:
    """Whether the host is loopback or a private address, given as such: a name is looked up by nobody here."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private
