"""Who may pull: passwords, tokens, certificates, and to whom we say who we are."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.release import SecretVersion
from lastgood.drivers.registry.auth import Challenge
from lastgood.drivers.registry.settings import Settings
from lastgood.testing.fake_files import FakeTools
from lastgood.testing.registry_server import RegistryServer, registry
from tests.drivers.registry.conftest import UNIT, Lab, lab_of, small
from tests.drivers.registry.proxy import Answer, Proxy, proxy


@pytest.fixture(params=["basic_server", "token_registry"], ids=["basic", "token"])
def closed(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request.getfixturevalue(request.param), tmp_path)


def test_with_name_and_password_it_is_pulled(closed: Lab) -> None:
    image = closed.push(small())
    driver = closed.driver(hosts=closed.login())
    assert driver.resolve(closed.reference()) == image
    assert driver.fetch(image, closed.archive) > 0


def test_everybody_is_told_to_log_in(closed: Lab) -> None:
    closed.push(small())
    with pytest.raises(Rejected, match="to everybody") as caught:
        closed.driver().resolve(closed.reference())
    assert caught.value.cause is Cause.PERMISSION
    assert closed.name in str(caught.value)
    assert "hosts" in str(caught.value.todo)


def test_a_wrong_password_is_a_missing_right_and_stands_nowhere(closed: Lab) -> None:
    closed.push(small())
    with pytest.raises(Rejected, match=f"to {closed.server.user}") as caught:
        closed.driver(hosts=closed.login("not-the-password")).resolve(closed.reference())
    assert caught.value.cause is Cause.PERMISSION
    assert "not-the-password" not in f"{caught.value} {caught.value.todo} {caught.value.__cause__}"


def test_a_token_without_the_right_is_a_missing_right(token_registry: RegistryServer, tmp_path: Path) -> None:
    lab = lab_of(token_registry, tmp_path)
    lab.push(small())
    assert token_registry.tokens is not None
    token_registry.tokens.denies = True
    try:
        with pytest.raises(Rejected, match=f"to {lab.server.user}") as caught:
            lab.driver(hosts=lab.login()).resolve(lab.reference())
    finally:
        token_registry.tokens.denies = False
    assert caught.value.cause is Cause.PERMISSION


def test_a_token_serves_until_it_is_refused(token_registry: RegistryServer, tmp_path: Path) -> None:
    lab = lab_of(token_registry, tmp_path)
    image = lab.push(small())
    tokens = token_registry.tokens
    assert tokens is not None
    driver = lab.driver(hosts=lab.login())
    tokens.asked.clear()
    tokens.lives = -120  # past at once, and past what clocks may differ by
    try:
        with pytest.raises(Rejected):
            driver.resolve(lab.reference())
    finally:
        tokens.lives = 300
    assert len(tokens.asked) == 1
    driver.resolve(lab.reference())
    driver.resolve(lab.reference())
    driver.fetch(image, lab.archive)
    assert tokens.asked[1:] == [(lab.server.user, (f"repository:{lab.name}:pull",))]


@pytest.mark.parametrize(
    "realm", ["http://tokens.example.com/token", "ftp://127.0.0.1/token", "", "http://["]
)
def test_no_password_goes_to_an_unsafe_place(trusted: RegistryServer, tmp_path: Path, realm: str) -> None:
    """A registry that is asked by HTTPS can't have the password sent in clear."""
    lab = lab_of(trusted, tmp_path)
    with proxy(trusted.address, tls=trusted) as through:
        lab.address = through.address
        through.rules = [("", Answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}))]
        with pytest.raises(Rejected, match="no safe place"):
            lab.driver(hosts=lab.login(), ca=str(trusted.certificate)).resolve(lab.reference())
    assert len(through.seen) == 1


def test_a_registry_in_plain_http_sends_no_password_to_a_place_that_can_not_be_trusted(
    lab: Lab, trusted: RegistryServer
) -> None:
    with proxy(lab.server.address) as through, proxy(lab.server.address, tls=trusted) as place:
        lab.address = through.address
        offer = {"WWW-Authenticate": f'Bearer realm="https://{place.address}/token"'}
        through.rules = [("", Answer(401, offer))]
        with pytest.raises(Rejected, match="can't be trusted"):
            lab.driver(hosts=lab.login("secret")).resolve(lab.reference())
    assert place.seen == []


@pytest.mark.parametrize("answer", [Answer(200, body=b"{}"), Answer(200, body=b"[]"), Answer(200, body=b"<")])
def test_a_token_server_that_gives_none_is_named(lab: Lab, answer: Answer) -> None:
    with proxy(lab.server.address) as through:
        lab.address = through.address
        offer = {"WWW-Authenticate": f'Bearer realm="http://{through.address}/token"'}
        through.rules = [("/token", answer), ("", Answer(401, offer))]
        with pytest.raises(Rejected, match="no token"):
            lab.driver().resolve(lab.reference())


def test_going_round_in_circles_ends(lab: Lab) -> None:
    with proxy(lab.server.address) as through:
        lab.address = through.address
        through.rules = [("", Answer(302, {"Location": "/v2/"}))]
        with pytest.raises(Rejected, match="one redirect after another"):
            lab.driver().resolve(lab.reference())
    assert len(through.seen) < 10


def test_nothing_leads_from_https_to_plain_http(trusted: RegistryServer, tmp_path: Path) -> None:
    lab = lab_of(trusted, tmp_path)
    with proxy(trusted.address, tls=trusted) as through:
        lab.address = through.address
        through.rules = [("", Answer(307, {"Location": f"http://{through.address}/x"}))]
        with pytest.raises(Rejected, match="a redirect to"):
            lab.driver(ca=str(trusted.certificate)).resolve(lab.reference())


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("tls"), auth="basic", tls=True) as server:
        yield server


def test_its_own_authority_is_trusted_when_it_is_named(trusted: RegistryServer, tmp_path: Path) -> None:
    lab = lab_of(trusted, tmp_path)
    image = lab.push(small())
    driver = lab.driver(hosts=lab.login(), ca=str(trusted.certificate))
    assert driver.resolve(lab.reference()) == image
    assert driver.fetch(image, lab.archive) > 0


def test_a_certificate_that_nobody_vouches_for_is_refused(
    trusted: RegistryServer, token_registry: RegistryServer, tmp_path: Path
) -> None:
    lab = lab_of(trusted, tmp_path)
    other = token_registry.directory / "tokens.pem"
    with pytest.raises(Rejected, match="can't be trusted") as caught:
        lab.driver(hosts=lab.login(), ca=str(other)).resolve(lab.reference())
    assert "'ca'" in str(caught.value.todo)


@pytest.fixture
def store(basic_server: RegistryServer) -> Iterator[Proxy]:
    """Where blobs are really kept: it takes whoever comes with the right address."""
    pair = base64.b64encode(f"{basic_server.user}:{basic_server.password}".encode()).decode()
    with proxy(basic_server.address, {"Authorization": f"Basic {pair}"}) as running:
        yield running


@pytest.mark.parametrize("status", [302, 307])
def test_where_it_is_sent_on_to_nobody_learns_who_we_are(
    basic_server: RegistryServer, store: Proxy, tmp_path: Path, status: int
) -> None:
    lab = lab_of(basic_server, tmp_path)
    image = lab.push(small())
    with proxy(basic_server.address) as through:
        lab.address = through.address
        for digest in (image.config, *lab.push(small()).manifest.split()):
            kept = f"http://{store.address}/v2/{lab.name}/blobs/{digest}"
            through.rules.append((digest, Answer(status, {"Location": kept})))
        through.rules.pop()  # the manifest is not kept elsewhere
        driver = lab.driver(hosts=lab.login())
        found = driver.resolve(lab.reference())
        driver.fetch(found, lab.archive)
    assert lab.archive.missing(found, read=True) == ()
    assert len(store.seen) == 2  # the config: when it was looked up, and when it was fetched
    assert all("authorization" not in headers for _, headers in store.seen)
    assert any("authorization" in headers for _, headers in through.seen)


def test_on_the_same_host_a_redirect_keeps_the_login(basic_server: RegistryServer, tmp_path: Path) -> None:
    lab = lab_of(basic_server, tmp_path)
    lab.push(small(), tag="old")
    with proxy(basic_server.address) as through:
        lab.address = through.address
        through.rules = [("manifests/1.4", Answer(308, {"Location": f"/v2/{lab.name}/manifests/old"}))]
        assert lab.driver(hosts=lab.login()).resolve(lab.reference())


@pytest.mark.parametrize("where", ["ftp://elsewhere/x", "http:///nowhere", "file:///etc/passwd", ""])
def test_it_is_not_sent_anywhere(lab: Lab, where: str) -> None:
    lab.push(small())
    with proxy(lab.server.address) as through:
        lab.address = through.address
        through.rules = [("blobs", Answer(307, {"Location": where}))]
        with pytest.raises(Rejected):
            lab.driver().resolve(lab.reference())


def test_offers_are_read_as_they_are_written() -> None:
    def of(*headers: str) -> list[Challenge]:
        return Challenge.all_of(headers)

    token = 'Bearer realm="https://a/token",service="reg, istry",scope="repository:a/b:pull,push"'
    (read,) = of(token)
    assert read.parameters == {
        "realm": "https://a/token", "service": "reg, istry", "scope": "repository:a/b:pull,push",
    }  # fmt: skip
    assert [c.scheme for c in of('Basic realm="x"', token)] == ["bearer", "basic"]
    assert [c.scheme for c in of(f'Basic realm="x", {token}')] == ["bearer", "basic"]
    assert [c.scheme for c in of("Negotiate", "")] == ["negotiate", ""]


LOGIN = {"username": "ci", "password": {"secret": "PASSWORD", "version": "1"}}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"host": {}}, "host"),
        ({"hosts": []}, "hosts"),
        ({"hosts": {"r.test": {"username": "ci"}}}, "hosts.r.test"),
        ({"hosts": {"r.test": {**LOGIN, "token": "x"}}}, "hosts.r.test"),
        ({"hosts": {"r.test": {**LOGIN, "password": "in clear"}}}, "hosts.r.test.password"),
        ({"hosts": {"r.test": {**LOGIN, "password": {"env": "PASSWORD"}}}}, "hosts.r.test.password"),
        ({"platform": "amd64"}, "platform"),
        ({"ca": "relative.pem"}, "ca"),
        ({"insecure": "r.test"}, "insecure"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], key: str) -> None:
    with pytest.raises(InvalidInput, match=f"'{key}'") as caught:
        Settings.of(UNIT, settings)
    assert caught.value.todo
    assert "in clear" not in str(caught.value)


def test_this_machine_and_what_is_listed_is_asked_in_plain_http() -> None:
    read = Settings.of(UNIT, {"insecure": ["registry.lan:5000"], "hosts": {"r.test": LOGIN}})
    plain = ("localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "registry.lan:5000")
    assert [host for host in plain if read.address(host) != f"http://{host}"] == []
    secret = ("registry.lan", "r.test", "10.0.0.1:5000", "localhost.example.com", "[2001:db8::1]:5000")
    assert [host for host in secret if read.address(host) != f"https://{host}"] == []
    assert read.address("docker.io") == "https://registry-1.docker.io"
    assert read.logins["r.test"].password == SecretVersion("PASSWORD", "1")


def test_a_password_that_cannot_be_unsealed_is_said_before_anything_is_sent(
    basic_server: RegistryServer, tmp_path: Path
) -> None:
    lab = lab_of(basic_server, tmp_path)
    login = lab.login()
    lab.tools = FakeTools(tmp_path / "another vault")
    with pytest.raises(Rejected, match="no sealed copy"):
        lab.driver(hosts=login).resolve(lab.reference())
