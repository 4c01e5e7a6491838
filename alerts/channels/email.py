"""Email by SMTP, encrypted as required; each recipient may accept or refuse."""

import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from alerts.alert import Notification, Receipt
from alerts.channels.bounds import BoundedLines, deadline
from alerts.channels.channel import (
    ChannelOptions,
    DeliveryError,
    Failure,
    Sender,
    Traits,
    error_words,
    reveal_secret,
)
from alerts.channels.mail import compose
from domain.secret import Secret

TOTAL_SECONDS = 180
TIMEOUT_SECONDS = 20.0
READY = 220
PERMANENT = 500
"""SMTP replies from this code on are permanent (RFC 5321, 4.2.1)."""
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]+@[^\s@<>\"(),:;\\\[\]]+")


def _address(text: str) -> str:
    """Return a bare address; Python 3.11.7's email package lets line breaks into headers."""
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f'"{text}" is not an address (like guardia@example.org)')
    return text


Address = Annotated[str, AfterValidator(_address)]


class Options(ChannelOptions):
    """An SMTP server and the recipients."""

    type: Literal["email"]
    host: str = Field(examples=['"smtp.example.org"'])
    port: int | None = Field(
        None, ge=1, le=65535, description="465 with tls, else 587; 25 without encryption."
    )
    to: tuple[Address, ...] = Field(min_length=1, examples=['["guardia@example.org"]'])
    sender: Address = "sereno@localhost.localdomain"
    tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="starttls is required, not optional."
    )
    ca_file: str | None = Field(None, description="Certificates to trust instead of the system's.")
    user: str | None = None
    password: Secret | None = None
    client_cert: str | None = Field(
        None, description="Client certificate (PEM), for servers that require one."
    )
    client_key: str | None = Field(None, description="Its key, if stored in a file of its own.")

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.user is None) != (self.password is None):
            message = "user and password must be given together"
            raise ValueError(message)
        if self.client_key is not None and self.client_cert is None:
            message = "client_key needs client_cert"
            raise ValueError(message)
        return self

    @property
    def traits(self) -> Traits:
        """Return the properties of the channel."""
        return Traits(groups=True)


class _Server(smtplib.SMTP):
    """An SMTP client with bounded replies and a total time; with `tls`, TLS from the beginning."""

    def __init__(self, tls: ssl.SSLContext | None, stack: ExitStack) -> None:
        super().__init__(timeout=TIMEOUT_SECONDS)
        self._tls, self._stack = tls, stack

    def connect(self, host: str = "localhost", port: int = 0, source_address: object = None) -> Any:  # noqa: ARG002, ANN401 - smtplib's
        """Connect, start the total time, and return the greeting."""
        self._host = host
        connected: socket.socket = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self.sock = connected
        self._stack.enter_context(deadline(connected, TOTAL_SECONDS))
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(connected, server_hostname=host)
        return self.getreply()

    def getreply(self) -> tuple[int, bytes]:
        """Return a reply. Raises SMTPServerDisconnected for one that is too long."""
        if self.file is None and self.sock is not None:
            self.file = BoundedLines(self.sock.makefile("rb"))
        if isinstance(self.file, BoundedLines):
            self.file.renew()
        return super().getreply()


class Email:
    """Uses one SMTP session per message."""

    def __init__(self, options: Options, sender: Sender) -> None:
        self._options = options
        self.traits = options.traits
        self._sender = sender

    def deliver(self, notification: Notification) -> Receipt:
        """Send to all recipients that have not accepted it; the Message-ID is the remote id."""
        mail = compose(
            notification, self._options.sender, ", ".join(self._options.to), self._sender
        )
        to = notification.recipients or self._options.to
        try:
            with self._server() as server:
                refused = server.send_message(mail, self._options.sender, list(to))
        except DeliveryError:
            raise
        except smtplib.SMTPServerDisconnected as error:
            raise DeliveryError(Failure.AMBIGUOUS, f"the connection was lost: {error}") from None
        except smtplib.SMTPRecipientsRefused as error:
            if not notification.recipients:
                raise _refused(error.recipients) from None
            refused = error.recipients  # the other recipients have received it
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(
                _failure(error), f"{error.smtp_code} {_text(error.smtp_error)}"
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            reason = error_words(error)
            where = f"{self._options.host}:{self._port}"
            raise DeliveryError(Failure.TRANSIENT, f"{where}: {reason}") from None
        return _receipt(str(mail["Message-ID"]), to, refused)

    @property
    def _port(self) -> int:
        return self._options.port or {"tls": 465, "starttls": 587, "none": 25}[self._options.tls]

    @contextmanager
    def _server(self) -> Iterator[smtplib.SMTP]:
        options = self._options
        context = self._trust()
        with ExitStack() as stack:
            server = _Server(context if options.tls == "tls" else None, stack)
            stack.callback(server.close)
            code, reply = server.connect(options.host, self._port)
            if code != READY:
                raise smtplib.SMTPConnectError(code, reply)
            if options.tls == "starttls":
                server.starttls(context=context)
            if options.user is not None:
                server.login(options.user, reveal_secret(options.password))
            yield server
            # the server has accepted the mail, so a failed QUIT changes nothing
            with suppress(smtplib.SMTPException, OSError):
                server.quit()

    def _trust(self) -> ssl.SSLContext:
        """Return the TLS context. Raises DeliveryError for a missing or invalid certificate."""
        options = self._options
        try:
            context = ssl.create_default_context(cafile=options.ca_file)
            if options.client_cert is not None:
                context.load_cert_chain(options.client_cert, options.client_key)
        except OSError as error:  # an SSLError is one
            files = ", ".join(
                filter(None, (options.ca_file, options.client_cert, options.client_key))
            )
            raise DeliveryError(Failure.TRANSIENT, f"{files}: {error.strerror or error}") from None
        return context


def _receipt(number: str, to: Sequence[str], refused: Mapping[str, tuple[int, bytes]]) -> Receipt:
    """Return the receipt: 4xx recipients later, 5xx refused (RFC 5321, 4.2.1)."""
    refusals = {address: f"{code} {_text(reason)}" for address, (code, reason) in refused.items()}
    accepted = tuple(address for address in to if address not in refused)
    words = [
        f"for {', '.join(accepted) or 'nobody'}",
        *(f"not for {who}: {why}" for who, why in refusals.items()),
    ]
    return Receipt(
        "; ".join(words),
        number,
        accepted,
        refused={who: why for who, why in refusals.items() if refused[who][0] >= PERMANENT},
        later={who: why for who, why in refusals.items() if refused[who][0] < PERMANENT},
    )


def _refused(recipients: dict[str, tuple[int, bytes]]) -> DeliveryError:
    permanent = all(code >= PERMANENT for code, _ in recipients.values())
    refusals = "; ".join(
        f"{address}: {code} {_text(reason)}" for address, (code, reason) in recipients.items()
    )
    return DeliveryError(
        Failure.PERMANENT if permanent else Failure.TRANSIENT, f"refused: {refusals}"
    )


def _failure(error: smtplib.SMTPResponseException) -> Failure:
    """Return the class of a reply: only one to DATA is about the message itself."""
    if error.smtp_code < PERMANENT:
        return Failure.TRANSIENT
    if isinstance(error, smtplib.SMTPDataError):
        return Failure.PERMANENT
    return Failure.CHANNEL


def _text(reply: bytes | str) -> str:
    if isinstance(reply, bytes):
        return reply.decode("utf-8", "replace")
    return reply
