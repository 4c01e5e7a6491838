"""The section [web]: the HTTP interface and the people who may use it."""

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from daemon.config.values import Listen, split_address
from domain.options import Model

Right = Literal["read", "operate", "acknowledge", "execute", "approve", "rollback"]


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("is not 64 hexadecimal digits, as sereno web token NAME prints them")
    return text


def _url(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", text):
        raise ValueError('is not an address, like "https://sereno.example.org"')
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f'"{text}" is not an address, like "127.0.0.1"') from None


class Principal(Model):
    """A person or program that is known by a token."""

    token_sha256: Annotated[str, AfterValidator(_hash)] = Field(
        description="The SHA-256 of its token; sereno web token NAME makes both.", repr=False
    )
    may: tuple[Right, ...] = Field(
        min_length=1,
        description="Its rights: read, operate (pause, cancel, batch), acknowledge, execute "
        "(apply, resume), approve, rollback.",
    )


class Web(Model):
    """The HTTP interface; it needs the extra: pip install 'sereno[web]'."""

    listen: Listen = Field(
        "",
        description='Its address, like "127.0.0.1:9189"; it serves /metrics and /healthz too, '
        "so daemon.listen is left out then.",
    )
    public_url: Annotated[str, AfterValidator(_url)] = Field(
        "",
        max_length=500,
        description="The address that people open; its host is accepted beside that of listen.",
        examples=['"https://sereno.example.org"'],
    )
    behind_tls: bool = Field(
        default=False,
        description="Whether a proxy in front of it speaks TLS; required unless it listens on "
        "the loopback interface.",
    )
    proxies: tuple[Annotated[str, AfterValidator(_address)], ...] = Field(
        (),
        description="Addresses of proxies that have signed the user in; from these alone "
        "proxy_header is believed.",
        examples=['["127.0.0.1"]'],
    )
    proxy_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,60}$")] = Field(
        "X-Remote-User",
        description="The header in which such a proxy names the principal; the proxy has to remove "
        "it from what clients send.",
    )
    principals: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,63}$")], Principal] = Field(
        default_factory=dict,
        description="Who may use it, and the command line with --as. Without any, reading is "
        "open on the loopback interface and nothing can be changed.",
    )

    @property
    def is_local(self) -> bool:
        """Return whether it listens on the loopback interface, or nowhere."""
        return not self.listen or ipaddress.ip_address(split_address(self.listen)[0]).is_loopback

    @property
    def page(self) -> str:
        """Return the address of the status page, without a slash at its end; empty without one."""
        return self.public_url.rstrip("/") if self.listen else ""

    @model_validator(mode="after")
    def _protected(self) -> Self:
        """Require TLS and principals on any other than the loopback interface."""
        if not self.is_local and not self.behind_tls:
            raise ValueError(
                f"listen = {self.listen!r} is reached from other machines: put a proxy with TLS "
                "in front and set behind_tls = true, or listen on 127.0.0.1"
            )
        if not self.is_local and not self.principals:
            raise ValueError(
                f"listen = {self.listen!r} is reached from other machines: add a principal "
                "(sereno web token NAME), or listen on 127.0.0.1"
            )
        address = ipaddress.ip_address(split_address(self.listen)[0]) if self.listen else None
        if address is not None and address.is_unspecified and not self.public_url:
            raise ValueError(
                f"listen = {self.listen!r} names no host: set public_url, the address that people "
                "open; requests for any other host are refused"
            )
        if "local" in self.principals:
            raise ValueError("principals.local: this name is kept for the command line")
        hashes = [one.token_sha256 for one in self.principals.values()]
        if len(set(hashes)) < len(hashes):
            raise ValueError("principals: two of them have one token; make one for each")
        return self
