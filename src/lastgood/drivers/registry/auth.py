"""Who we are to a registry: nobody, a name with a password, or the bearer of a token."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import httpx

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.drivers.registry import failures
from lastgood.drivers.registry.settings import Login, is_loopback

Unseal = Callable[[SecretVersion], str]
_NEXT = re.compile(r",\s*(?=[A-Za-z]+\s+\w+=)")
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    """One way in that a registry offers: ``basic`` or ``bearer``, and what it says about it."""

    scheme: str
    parameters: Mapping[str, str]

    @classmethod
    def all_of(cls, headers: Iterable[str]) -> list[Challenge]:
        """From the values of ``WWW-Authenticate``, the better ways first."""
        found = []
        for offer in (offer for header in headers for offer in _NEXT.split(header)):
            scheme, _, rest = offer.strip().partition(" ")
            parameters = {m[1].lower(): m[2] or m[3] or "" for m in _PARAMETER.finditer(rest)}
            found.append(cls(scheme.lower(), parameters))
        return sorted(found, key=lambda challenge: challenge.scheme != "bearer")


class Authority:
    """What is written into ``Authorization`` for one registry, by repository.

    A token is used until the registry refuses it. The password is unsealed when it is sent and not kept; a
    registry that takes no tokens has it sent with each request.
    """

    def __init__(
        self,
        client_for: Callable[[httpx.URL], httpx.Client],
        address: str,
        login: Login | None,
        unseal: Unseal,
    ) -> None:
        self._client_for = client_for
        self._host = address.partition("://")[2]
        self._plain = address.startswith("http:")
        self._login = login
        self._unseal = unseal
        self._tokens: dict[str, str] = {}
        self._basic = False

    @property
    def user(self) -> str:
        """Empty for nobody."""
        return self._login.username if self._login else ""

    def header(self, name: str) -> dict[str, str]:
        """For a request about the repository ``name``."""
        if name in self._tokens:
            return {"Authorization": f"Bearer {self._tokens[name]}"}
        if self._basic and self._login is not None:
            pair = f"{self._login.username}:{self._unseal(self._login.password)}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {}

    def answer(self, challenges: Iterable[Challenge], name: str, subject: str) -> bool:
        """Have what a refused request lacked; False when there is nothing more to offer.

        Raises Rejected (the token server refuses us, or wants the password in clear), Unreachable.
        """
        self._tokens.pop(name, None)
        for challenge in challenges:
            if challenge.scheme == "bearer":
                self._tokens[name] = self._token(challenge, name, subject)
                return True
            if challenge.scheme == "basic" and self._login is not None and not self._basic:
                self._basic = True
                return True
        return False

    def _token(self, challenge: Challenge, name: str, subject: str) -> str:
        realm = self._realm(challenge)
        asked = {"scope": challenge.parameters.get("scope") or f"repository:{name}:pull"}
        if service := challenge.parameters.get("service"):
            asked["service"] = service
        login = self._login
        auth = httpx.BasicAuth(login.username, self._unseal(login.password)) if login else None
        try:
            answer = self._client_for(realm).get(realm.copy_merge_params(asked), auth=auth)
        except httpx.RequestError as error:
            raise failures.unreachable(error, realm.netloc.decode()) from error
        if not answer.is_success:
            raise failures.refused(answer, realm.netloc.decode(), subject, self.user)
        try:
            given = answer.json()
            token = given.get("token") or given["access_token"]
        except (ValueError, KeyError, AttributeError) as error:
            raise failures.untrue(realm.netloc.decode(), subject, "no token") from error
        return str(token)

    def _realm(self, challenge: Challenge) -> httpx.URL:
        said = challenge.parameters.get("realm", "")
        try:
            realm = httpx.URL(said)
        except httpx.InvalidURL:
            realm = httpx.URL("")
        plain = realm.scheme == "http" and (self._plain or is_loopback(realm.netloc.decode()))
        if not realm.host or not (realm.scheme == "https" or plain):
            raise Rejected(
                N_("the registry {host} sends us for a token to '{realm}', which is no safe place for it"),
                todo=N_("Have it name an address that begins with https://."),
                where=self._host,
                host=self._host,
                realm=said,
            )
        return realm
