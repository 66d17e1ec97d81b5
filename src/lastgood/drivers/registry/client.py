"""One registry over HTTP: authorised, redirected without telling strangers who we are, errors mapped."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import httpx

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import Cause, InvalidInput
from lastgood.domain.image import ImageReference
from lastgood.domain.message import N_
from lastgood.drivers.registry import failures
from lastgood.drivers.registry.auth import Authority, Challenge, Unseal
from lastgood.drivers.registry.manifests import ACCEPTED, Blob
from lastgood.drivers.registry.settings import Settings, is_loopback

CONNECT_TIMEOUT = 5.0
REDIRECTS = 6
"""Answers until the last one: redirects, and the one that asks who we are."""
LARGEST = 8 << 20
"""Bytes of the largest manifest or config that is read."""
PIECE = 1 << 18
ERROR_BYTES = 1 << 16
_REDIRECTED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Answered:
    """A whole answer; ``digest`` is that of ``body``, ``kind`` the media type it came with."""

    body: bytes
    digest: str
    kind: str


class Registry:
    """Asked from several threads at once."""

    def __init__(self, host: str, settings: Settings, unseal: Unseal) -> None:
        self.host = host
        self._settings = settings
        self._address = settings.address(host)
        self._authority = Authority(self._client_for, self._address, settings.logins.get(host), unseal)

    def manifest(self, reference: ImageReference, name: str) -> Answered:
        """``name``: tag or digest. Raises Rejected when it is not there, or not what it is called."""
        subject = _subject(reference)
        path = f"/v2/{_path(reference)}/manifests/{name}"
        with self._open(path, reference, subject, {"Accept": ACCEPTED}) as answer:
            answered = self._whole(answer, subject)
            said = answer.headers.get("Docker-Content-Digest", answered.digest)
        wanted = name if name.startswith("sha256:") else said
        if said != answered.digest or wanted != answered.digest:
            raise failures.untrue(self.host, f"{subject} ({wanted})", answered.digest)
        return answered

    def document(self, reference: ImageReference, blob: Blob) -> bytes:
        """A small blob whole: a config. Raises Rejected when it is another one."""
        subject = _subject(reference)
        if blob.size > LARGEST:
            raise failures.untrue(self.host, subject, f"{blob.size} bytes")
        with self._open(_blob_path(reference, blob), reference, subject, {}) as answer:
            answered = self._whole(answer, subject)
        if answered.digest != blob.digest:
            raise failures.untrue(self.host, f"{subject} ({blob.digest})", answered.digest)
        return answered.body

    def pieces(self, reference: ImageReference, blob: Blob) -> Generator[bytes, None, None]:
        """A blob in pieces, as they come. Raises OutcomeUnknown when it ends too early, Rejected when it has
        more bytes than the manifest says: then the rest is not taken.
        """
        subject, got = _subject(reference), 0
        with self._open(_blob_path(reference, blob), reference, subject, {}) as answer:
            try:
                for piece in answer.iter_bytes(PIECE):
                    got += len(piece)
                    if got > blob.size:
                        raise failures.untrue(self.host, blob.digest, f"more than {blob.size} bytes")
                    yield piece
            except httpx.RequestError as error:
                said = str(error) or type(error).__name__
                came = answer.num_bytes_downloaded
                raise failures.cut_off(self.host, subject, came, said) from error
        if got < blob.size:
            raise failures.cut_off(self.host, subject, got, f"{blob.size} bytes were expected")

    @contextmanager
    def _open(
        self, path: str, reference: ImageReference, subject: str, headers: dict[str, str]
    ) -> Iterator[httpx.Response]:
        """A successful answer, not yet read. Raises Rejected or Unreachable."""
        answer = self._answer(httpx.URL(f"{self._address}{path}"), _path(reference), subject, headers)
        try:
            if not answer.is_success:
                raise failures.refused(_short(answer), self.host, subject, self._authority.user)
            yield answer
        finally:
            answer.close()

    def _answer(self, url: httpx.URL, name: str, subject: str, headers: dict[str, str]) -> httpx.Response:
        """Where redirects lead, and after a login if one was wanted. Who we are is told to the registry only:
        blobs are often kept elsewhere, and what comes from there is checked by its digest.
        """
        here, logged_in = _origin(httpx.URL(self._address)), False
        for _ in range(REDIRECTS):
            ours = _origin(url) == here
            answer = self._send(url, {**headers, **(self._authority.header(name) if ours else {})})
            if answer.status_code == httpx.codes.UNAUTHORIZED and ours and not logged_in:
                offered = Challenge.all_of(answer.headers.get_list("WWW-Authenticate"))
                logged_in = self._authority.answer(offered, name, subject)
                if not logged_in:
                    return answer
            elif answer.status_code in _REDIRECTED:
                url = self._target(answer, subject)
            else:
                return answer
            answer.close()
        raise failures.untrue(self.host, subject, "one redirect after another")

    def _target(self, answer: httpx.Response, subject: str) -> httpx.URL:
        location = answer.headers.get("Location", "")
        try:
            url = answer.request.url.join(location)
        except httpx.InvalidURL:
            url = httpx.URL("")
        downgraded = answer.request.url.scheme == "https" and url.scheme == "http"
        if url.scheme not in ("http", "https") or not url.host or downgraded:
            answer.close()
            raise failures.untrue(self.host, subject, f"a redirect to '{location[:200]}'")
        return url

    def _client_for(self, url: httpx.URL) -> httpx.Client:
        return self._secure if url.scheme == "https" else self._plain

    @cached_property
    def _plain(self) -> httpx.Client:
        return self._open_client(False)

    @cached_property
    def _secure(self) -> httpx.Client:
        """Of its own: to read all the system's certificates takes longer than a question in plain HTTP, and
        whom such a registry sends us to is trusted no less carefully.
        """
        return self._open_client(_trust(self._settings))

    def _open_client(self, verify: ssl.SSLContext | bool) -> httpx.Client:
        silence = self._settings.timeout
        return httpx.Client(
            verify=verify,
            timeout=httpx.Timeout(silence, connect=min(CONNECT_TIMEOUT, silence)),
            headers={"Accept-Encoding": "identity"},
            # The proxy of this machine's environment is for what is outside of it.
            trust_env=not is_loopback(self.host),
        )

    def _send(self, url: httpx.URL, headers: dict[str, str]) -> httpx.Response:
        client = self._client_for(url)
        try:
            return client.send(client.build_request("GET", url, headers=headers), stream=True)
        except httpx.RequestError as error:
            raise failures.unreachable(error, url.netloc.decode()) from error

    def _whole(self, answer: httpx.Response, subject: str) -> Answered:
        body = b""
        try:
            for piece in answer.iter_bytes(PIECE):
                body += piece
                if len(body) > LARGEST:
                    raise failures.untrue(self.host, subject, f"more than {LARGEST} bytes")
        except httpx.RequestError as error:
            raise failures.unreachable(error, self.host) from error
        return Answered(body, digest_bytes(body), answer.headers.get("Content-Type", ""))


def _origin(url: httpx.URL) -> tuple[str, bytes]:
    return url.scheme, url.netloc


def _path(reference: ImageReference) -> str:
    """The repository as the API names it; the one registry with official images keeps them apart."""
    official = reference.host == "docker.io" and "/" not in reference.name
    return f"library/{reference.name}" if official else reference.name


def _blob_path(reference: ImageReference, blob: Blob) -> str:
    return f"/v2/{_path(reference)}/blobs/{blob.digest}"


def _subject(reference: ImageReference) -> str:
    return f"{reference.name}:{reference.tag}" if reference.tag else f"{reference.name}@{reference.digest}"


def _short(answer: httpx.Response) -> httpx.Response:
    """An answer with as much of its body as is told to people."""
    body = b""
    try:
        for piece in answer.iter_bytes(ERROR_BYTES):
            body = (body + piece)[:ERROR_BYTES]
            if len(body) == ERROR_BYTES:
                break
    except httpx.RequestError:
        body = b""
    kept = {name: answer.headers[name] for name in ("Retry-After",) if name in answer.headers}
    return httpx.Response(answer.status_code, headers=kept, content=body)


def _trust(settings: Settings) -> ssl.SSLContext:
    """The system's authorities, and the one of the settings. Raises InvalidInput when that can't be read."""
    trust = ssl.create_default_context()
    if settings.ca is not None:
        try:
            trust.load_verify_locations(settings.ca)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                N_("the certificates in {path} can't be read: {reason}"),
                todo=N_("Correct the setting 'ca' of the registry driver: a file of certificates (PEM)."),
                where=str(settings.ca),
                cause=Cause.WRONG_PATH,
                path=str(settings.ca),
                reason=str(error),
            ) from error
    return trust
