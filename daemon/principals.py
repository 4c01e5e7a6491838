"""People and programs that are known by a token, and their rights."""

import hashlib
import hmac
import secrets

from daemon.config.web import Right, Web

LONGEST_TOKEN = 512
_TOKEN_BYTES = 32


def make_token() -> tuple[str, str]:
    """Return a new token and its SHA-256."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    return token, hash_token(token)


def hash_token(token: str) -> str:
    """Return the SHA-256 of a token as hexadecimal digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def principal_of_token(web: Web, token: str) -> str | None:
    """Return the principal of a token; None if it is nobody's.

    Every principal is compared, in constant time each.
    """
    if len(token) > LONGEST_TOKEN:
        return None
    found, given = None, hash_token(token)
    for name, one in web.principals.items():
        if hmac.compare_digest(one.token_sha256, given):
            found = name
    return found


def has_right(web: Web, name: str, right: Right) -> bool:
    """Return whether a principal has a right."""
    return name in web.principals and right in web.principals[name].may
