"""The load generator sees what it is there to see."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.testing.caddy_server import free_port
from lastgood.testing.load import Answer, Load, main, percentile, run, summary

SERVED = Signal("served", SignalKind.RATIO, "caddy")


def test_it_keeps_its_rate_and_says_who_answered(red) -> None:
    answers = run(Load(f"http://{red.addresses[0]}/", rate=200, connections=4, seconds=1))
    result = summary(answers)
    assert (result["total"], result["failed"], result["resets"]) == (200, 0, 0)
    assert result["answers"]["red"]["count"] == 200
    assert [(part["word"], part["count"]) for part in result["timeline"]] == [("red", 200)]
    assert 0.9 < result["seconds"] < 2
    assert {answer.status for answer in answers} == {200}


def test_a_stall_is_charged_to_every_request_that_was_due(red) -> None:
    answers = run(Load(f"http://{red.addresses[0]}/?delay=0.1", rate=20, connections=1, seconds=1))
    assert len(answers) == 20
    assert max(answer.latency for answer in answers) > 1


def test_server_errors_are_failures(red) -> None:
    result = summary(run(Load(f"http://{red.addresses[0]}/?status=503", rate=50, connections=2, seconds=0.2)))
    assert (result["failed"], result["statuses"]) == (result["total"], {"503": result["total"]})


def test_a_cut_connection_is_a_failure(lab, red, eventually) -> None:
    lab.build().install()
    lab.build().route(red)
    answers: list[Answer] = []
    load = Load(f"http://{lab.listen}/", rate=100, connections=4, seconds=2)
    thread = threading.Thread(target=lambda: answers.extend(run(load)))
    cursor = lab.build().begin(SERVED)
    thread.start()
    eventually(lambda: lab.build().read(SERVED, cursor).total >= 20)
    lab.server.kill()
    thread.join()
    result = summary(answers)
    assert result["total"] == 200
    assert 1 <= result["resets"] <= 4, "one for each open connection, some may be connecting"
    assert result["errors"]["refused"] == result["failed"] - result["resets"]
    assert result["failed"] == 200 - result["answers"]["red"]["count"]


def test_a_closed_loop_sends_as_fast_as_it_is_answered(red) -> None:
    result = summary(run(Load(f"http://{red.addresses[0]}/", rate=0, connections=1, seconds=0.3)))
    assert result["total"] > 50
    assert result["failed"] == 0


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "http://example.org/", "https://127.0.0.1/", "x"])
def test_it_sends_to_this_machine_only(url, capsys) -> None:
    assert main([url]) == 2
    assert "this machine only" in capsys.readouterr().err


def test_its_exit_code_says_whether_all_were_served(red, capsys) -> None:
    fast = ["--rate", "50", "--seconds", "0.2", "--json"]
    assert main([f"http://{red.addresses[0]}/", *fast]) == 0
    assert main([f"http://127.0.0.1:{free_port()}/", *fast]) == 1
    assert '"refused": 10' in capsys.readouterr().out


def test_percentiles_are_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([7.0], 0.5) == 7
    assert percentile([], 0.5) is None


def test_it_can_be_told_to_end_and_reports_what_it_did(red) -> None:
    command = [sys.executable, "-m", "lastgood.testing.load", f"http://{red.addresses[0]}/", "--json"]
    load = subprocess.Popen([*command, "--rate", "200", "--seconds", "600"], stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        load.communicate(timeout=1)
    load.terminate()
    output, _ = load.communicate(timeout=10)
    result = json.loads(output)
    assert load.returncode == 0
    assert result["failed"] == 0
    assert 0 < result["total"] < 2000
