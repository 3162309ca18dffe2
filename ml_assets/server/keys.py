"""API keys: who may ask for predictions, send feedback, reload, or approve versions. A server knows their SHA-256.

A line of the file, or of the environment's ML_ASSETS_API_KEYS (where `;` separates them, too), is
`<sha256> <scope>[,<scope>...] [name]`; an empty one and one that begins with # count for nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_assets.errors import ServingError
from ml_assets.server.problems import Problem

SCOPES = ("predict", "feedback", "admin", "approve")
ENV_KEYS = "ML_ASSETS_API_KEYS"
PREFIX = "mla_"
CHALLENGE = {"WWW-Authenticate": "Bearer"}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
LOOPBACK_NET = re.compile(r"127(\.\d{1,3}){3}")


@dataclass(frozen=True)
class ApiKey:
    """A key that is known.

    Args:
        sha256: Of the key.
        scopes: What it allows.
    """

    sha256: bytes
    scopes: frozenset[str]


class Keys:
    """The keys of a server; without any, everybody may do everything.

    Args:
        known: The keys.
        is_local: Only this machine may ask, and it needs no key.
    """

    def __init__(self, known: Iterable[ApiKey] = (), is_local: bool = False) -> None:
        self._known, self.is_local = tuple(known), is_local

    def __bool__(self) -> bool:
        return bool(self._known)

    def check_host(self, host: str | None) -> None:
        """Refuse what a page sends by a name of its own that resolves to this machine (DNS rebinding).

        Args:
            host: The header; browsers always send it.

        Raises:
            Problem: It is another name than this machine's own, and there is no key to tell friends by.
        """
        name = (host or "localhost").lower()
        name = name.partition("]")[0].removeprefix("[") if name.startswith("[") else name.partition(":")[0]
        if self.is_local and name not in LOOPBACK and not LOOPBACK_NET.fullmatch(name):
            why = f"The Host header names {name[:100]!r}, not this machine. Behind a proxy, use API keys or --insecure."
            raise Problem(403, "foreign-host", why)

    def check(self, authorization: str | None, scope: str | None) -> None:
        """Refuse a request that its header does not allow.

        Args:
            authorization: The header.
            scope: What is asked for; None: any key will do.

        Raises:
            Problem: There is no key, or it does not allow that.
        """
        if not self._known:
            return
        word, _, secret = (authorization or "").partition(" ")
        if word.lower() != "bearer" or not secret.strip():
            raise Problem(401, "no-key", "Send a key in the header `Authorization: Bearer KEY`.", headers=CHALLENGE)
        digest = hashlib.sha256(secret.strip().encode()).digest()
        found = [key for key in self._known if hmac.compare_digest(key.sha256, digest)]
        if not found:
            raise Problem(401, "no-key", "The key is not known here.", headers=CHALLENGE)
        if scope is not None and not any(scope in key.scopes for key in found):
            raise Problem(403, "not-allowed", f"The key does not have the scope {scope}.")


def read_keys(file: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
    """The keys of a file and of the environment.

    Raises:
        ServingError: The file cannot be read, or a line is not of the form.
    """
    lines = [(ENV_KEYS, line) for line in environment.get(ENV_KEYS, "").replace(";", "\n").splitlines()]
    if file is not None:
        try:
            lines += [(str(file), line) for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ServingError("The file of keys cannot be read.", found=error, where={"file": file}) from error
    keys = [_key(place, line.split()) for place, line in lines if line.strip() and not line.lstrip().startswith("#")]
    if file is not None and not keys:
        raise ServingError("The file of keys has none.", where={"file": file}, fix="`ml-assets key` prints a line.")
    return Keys(keys)


def _key(place: str, words: list[str]) -> ApiKey:
    scopes = frozenset(words[1].split(",")) if len(words) > 1 else frozenset()
    is_digest = len(words[0]) == 64 and not set(words[0].lower()) - set("0123456789abcdef")
    if not is_digest or not scopes or scopes - set(SCOPES):
        raise ServingError(
            f"A key's line is `<sha256> <scope>[,<scope>...] [name]`, with scopes of {', '.join(SCOPES)}.",
            found=" ".join(word if len(word) != 64 else "<sha256>" for word in words[1:]) or "one word",
            where={"in": place},
            fix="`ml-assets key` prints a line.",
        )
    return ApiKey(bytes.fromhex(words[0]), scopes)


def new_key(scopes: Collection[str], name: str) -> tuple[str, str]:
    """A new key, and the line by which a server knows it."""
    secret = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return secret, f"{digest} {','.join(one for one in SCOPES if one in scopes)} {name}".rstrip()


def check_address(host: str, keys: Keys, is_insecure: bool) -> None:
    """Refuse to let other machines in without keys.

    Raises:
        ServingError: The address is not this machine's own, there are no keys, and nobody said that this is fine.
    """
    if host not in LOOPBACK and not keys and not is_insecure:
        raise ServingError(
            f"The address {host} lets other machines in, and there are no API keys.",
            fix=f"Make a key with `ml-assets key` and set {ENV_KEYS} or --keys; --insecure serves without.",
        )
