"""Sign-ins: a signed cookie, and the token of its forms.

The key is in the state file. A cookie is bound to the hash of its principal's token: a new token in
the configuration ends it.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass

from daemon.config.web import Web
from store.store import Store

COOKIE = "sereno_session"
LIFE_SECONDS = 12 * 3600
LONGEST_COOKIE = 1000
_KEY_BYTES = 32
_KEY_NAME = "web_key"
_ADD_KEY = "INSERT INTO instance (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING"
_KEY = "SELECT value FROM instance WHERE name = ?"


@dataclass(frozen=True, slots=True)
class Session:
    """A principal that has signed in."""

    principal: str
    nonce: str


class Sessions:
    """Signs and verifies cookies and form tokens with the key of the state file."""

    def __init__(self, store: Store, web: Web) -> None:
        self._store, self._web = store, web
        self._known = b""

    def issue(self, principal: str) -> str:
        """Return the cookie of a principal."""
        values = [principal, int(time.time()) + LIFE_SECONDS, secrets.token_hex(16)]
        body = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
        return f"{body}.{self._sign(body + self._token_hash(principal))}"

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None if it is not valid, or no longer."""
        body, _, signature = cookie.partition(".")
        if not signature or len(cookie) > LONGEST_COOKIE:
            return None
        try:
            principal, end, nonce = json.loads(base64.urlsafe_b64decode(body.encode("ascii")))
            is_signed = hmac.compare_digest(
                signature.encode(), self._sign(body + self._token_hash(str(principal))).encode()
            )
        except (ValueError, TypeError, KeyError, binascii.Error):
            return None
        if not is_signed or end < time.time():
            return None
        return Session(principal, nonce)

    def form_token(self, session: Session) -> str:
        """Return the token that the forms of a session carry."""
        return self._sign(f"form {session.principal} {session.nonce}")

    def is_form_token(self, session: Session, token: str) -> bool:
        """Return whether a token is that of a session's forms."""
        return hmac.compare_digest(token.encode(), self.form_token(session).encode())

    def _token_hash(self, principal: str) -> str:
        """Return the configured hash of a principal. Raises KeyError for an unknown one."""
        return self._web.principals[principal].token_sha256

    def _sign(self, text: str) -> str:
        return hmac.new(self._key(), text.encode(), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        """Return the key; it is made on first use. Raises StoreError."""
        if not self._known:
            with self._store.transaction() as transaction:
                transaction.execute(_ADD_KEY, (_KEY_NAME, secrets.token_hex(_KEY_BYTES)))
                row = transaction.row(_KEY, (_KEY_NAME,))
            self._known = bytes.fromhex(str(row["value"])) if row else b""
        return self._known
