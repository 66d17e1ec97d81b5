"""A service that is behind nginx already comes under the driver without a request lost, and goes back."""

from __future__ import annotations

import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.drivers.nginx import control, grammar
from lastgood.ports.traffic import Destination, Leave, Share

BLOCK = """
        # the old shop
        least_conn;
        server {one} weight=3 max_fails=2;
        server {two} backup;
        keepalive 8;
    """
LOCATION = """\
# before lastgood
proxy_pass http://shop;  # all of it
proxy_set_header X-Kept "yes; {really}";
"""


@pytest.fixture
def baseline(lab, red, blue) -> Destination:
    """A shop that somebody put behind nginx by hand."""
    block = BLOCK.format(one=red.addresses[0], two=blue.addresses[0])
    lab.server.http = f"upstream shop {{{block}}}"
    lab.location.write_text(LOCATION)
    lab.server.write_conf()
    lab.server.reload()
    return Destination("", tuple(sorted((*red.addresses, *blue.addresses))))


def test_what_is_there_is_the_baseline(lab, baseline) -> None:
    driver = lab.build()
    assert driver.current() == baseline
    assert driver.shares() == (Share(baseline, 100),)
    assert driver.observe().facts["route"] == "missing"
    assert (lab.location.read_text(), lab.file.exists()) == (LOCATION, False)


def test_installing_moves_no_request_and_keeps_what_was_there(lab, red, baseline) -> None:
    driver = lab.build()
    driver.install()
    assert (driver.current(), lab.ask()) == (baseline, (200, "red"))
    text = lab.location.read_text()
    assert text.startswith("# before lastgood\n# lastgood: begin")
    assert text.endswith('# lastgood: end  # all of it\nproxy_set_header X-Kept "yes; {really}";\n')
    aside = lab.link.with_name(f".{lab.unit.slug}") / "before.location"
    assert aside.read_text() == LOCATION


def test_the_way_back_to_it_is_its_own_block_word_for_word(lab, red, blue, baseline) -> None:
    driver = lab.build()
    driver.install()
    driver.route(Destination("next", blue.addresses))
    assert lab.ask() == (200, "blue")
    lab.server.http = ""  # somebody tidies up
    lab.server.write_conf()
    lab.server.reload()
    workers = lab.server.accepting()
    driver.route(baseline)
    assert (driver.current(), lab.ask()) == (baseline, (200, "red"))
    assert lab.server.accepting() == workers
    block = BLOCK.format(one=red.addresses[0], two=blue.addresses[0]).strip("\n")
    assert f"{{\n{block}\n}}" in lab.file.read_text()


def test_an_address_without_an_upstream_will_do(lab, red) -> None:
    lab.location.write_text(f"proxy_pass http://{red.addresses[0]};\n")
    lab.server.reload()
    baseline = Destination("", red.addresses)
    driver = lab.build()
    assert driver.current() == baseline
    driver.install()
    assert (driver.current(), lab.ask()) == (baseline, (200, "red"))
    driver.route(Destination())
    driver.route(baseline)
    assert (driver.current(), lab.ask()) == (baseline, (200, "red"))


def test_a_baseline_may_be_a_socket(lab, red, tmp_path) -> None:
    path = tmp_path / "shop.sock"
    lab.server.http = (
        f'server {{ listen unix:{path}; return 200 "old\\n"; }} upstream shop {{ server unix:{path}; }}'
    )
    lab.location.write_text("proxy_pass http://shop;\n")
    lab.server.write_conf()
    lab.server.reload()
    baseline = Destination("", (f"unix:{path}",))
    driver = lab.build()
    assert driver.current() == baseline
    driver.install()
    driver.route(red)
    driver.route(baseline, Leave.CUT)
    assert (driver.current(), lab.ask()) == (baseline, (200, "old"))


@pytest.mark.parametrize(
    "location",
    [
        "proxy_pass http://shop/path;",
        "proxy_pass https://shop;",
        "proxy_pass http://$shop;",
        "fastcgi_pass 127.0.0.1:9000;",
        "return 301 https://$host$request_uri;",
    ],
)
def test_what_is_no_plain_proxy_is_not_taken_over(lab, location) -> None:
    lab.location.write_text(location)
    for call in (lab.build().current, lab.build().install):
        with pytest.raises(Rejected, match="can't be taken over") as caught:
            call()
        assert caught.value.where == str(lab.location)
    assert lab.location.read_text() == location


def test_what_nginx_has_not_loaded_is_not_believed(lab, baseline, monkeypatch) -> None:
    """As if the workers had been started an hour earlier."""
    monkeypatch.setattr(control, "START_TOLERANCE", -3600)
    with pytest.raises(Rejected, match="was changed after nginx loaded it") as caught:
        lab.build().current()
    assert caught.value.where == str(lab.location)


def test_a_location_that_nginx_does_not_read_is_told_with_the_line_to_write(lab, red) -> None:
    text = lab.server.conf.read_text()
    lab.server.conf.write_text(text.replace(f"include {lab.location};", "return 503;"))
    lab.server.reload()
    lab.location.unlink()
    with pytest.raises(Rejected, match="does not include") as caught:
        lab.build().install()
    assert f"include {lab.location};" in str(caught.value.todo)
    assert caught.value.cause is Cause.WRONG_PATH
    lab.server.conf.write_text(text)
    driver = lab.build()
    driver.install()
    driver.route(red)
    assert lab.ask() == (200, "red")


def test_upstreams_that_nginx_does_not_read_are_told_with_the_line_to_write(lab) -> None:
    text, before = lab.server.conf.read_text(), lab.location.read_text()
    lab.server.conf.write_text(text.replace(f"include {lab.server.upstreams}/*.conf;", ""))
    with pytest.raises(Rejected, match="does not include") as caught:
        lab.build().install()
    assert f"include {lab.file};" in str(caught.value.todo)
    assert (lab.location.read_text(), lab.file.exists()) == (before, False)


def test_something_else_at_the_address_is_noticed(lab, red, blue) -> None:
    lab.build().install()
    mistaken = lab.build(listen=blue.addresses[0])
    for call in (mistaken.current, mistaken.install, lambda: mistaken.route(red)):
        with pytest.raises(Rejected, match="something else answers"):
            call()


@pytest.mark.parametrize("which", ["file", "location"])
def test_files_changed_by_hand_are_not_believed(lab, red, blue, which) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    seen = driver.observe()
    assert driver.observe().fingerprint == seen.fingerprint
    path, old, new = {
        "file": (lab.file, red.addresses[0], blue.addresses[0]),
        "location": (lab.location, "proxy_pass http://$", f"proxy_pass http://{blue.addresses[0]}; # $"),
    }[which]
    head, _, tail = path.read_text().rpartition(old)
    path.write_text(f"{head}{new}{tail}")
    lab.server.reload()
    for call in (driver.current, lambda: driver.route(blue)):
        with pytest.raises(Rejected, match="changed by hand"):
            call()
    after = driver.observe()
    assert (after.facts["route"], seen.facts["route"]) == ("changed", "installed")
    assert after.fingerprint != seen.fingerprint
    driver.install()
    assert (driver.current(), lab.ask()) == (red, (200, "red"))


def test_lines_of_others_in_the_location_stay(lab, red) -> None:
    lab.build().install()
    lab.location.write_text(f"proxy_set_header A b;\n{lab.location.read_text()}proxy_set_header C d;\n")
    lab.file.unlink()
    lab.build().install()
    text = lab.location.read_text()
    assert text.startswith("proxy_set_header A b;\n# lastgood: begin")
    assert text.endswith("# lastgood: end\nproxy_set_header C d;\n")


def test_nginx_language_is_read_as_nginx_reads_it() -> None:
    text = """
    # upstream shop { server 1.1.1.1:1; }
    map $a $b { default "}"; '{' 'x;y'; }
    upstream "shop" {
        server 10.0.0.1; server 10.0.0.2:8080 weight=2;# comment }
        server [::1]:81; server 10.0.0.3 down; server unix:/run/shop.sock;
    }
    """
    body = grammar.upstream_body(f"http {{ {text} }}", "shop")
    assert body is not None
    assert grammar.servers(body) == ("10.0.0.1:80", "10.0.0.2:8080", "[::1]:81", "unix:/run/shop.sock")
    assert grammar.upstream_body(text, "other") is None
    assert [s.words for s in grammar.statements(r'a "b c" d\ e ${f}g; h { i; } j')] == [
        ("a", "b c", r"d\ e", "${f}g"),
        ("h",),
    ]


def test_taking_over_replaces_one_statement() -> None:
    ours = "# lastgood: begin\nx;\n# lastgood: end"
    assert grammar.taken_over("", ours) == f"{ours}\n"
    assert grammar.taken_over("a b;", ours) == f"a b;\n{ours}\n"
    assert grammar.taken_over("a;\nreturn 503;\nc;\n", ours) == f"a;\n{ours}\nc;\n"
    assert (
        grammar.taken_over(f"a;\n{ours}\nc;\n", ours.replace("x", "y"))
        == f"a;\n{ours.replace('x', 'y')}\nc;\n"
    )
