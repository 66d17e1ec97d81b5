"""Messages in the reader's language."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lastgood.domain.message import Message
from lastgood.judging import reasons
from lastgood.translation import Translator, chosen_locale, translator

GOES_BACK = "goes back: {what}"


@pytest.mark.parametrize(
    ("environment", "locale"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_TW.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "LASTGOOD_LANG": "zh"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh_CN"),
    ],
)
def test_the_environment_chooses_the_language(environment: dict[str, str], locale: str) -> None:
    assert chosen_locale(environment) == locale


def test_a_message_is_said_in_chinese() -> None:
    message = Message(reasons.NO_ANSWER, {"error": "timed out {1}"})
    assert translator("zh_CN")(message) == "无应答：timed out {1}"


def test_a_filled_sentence_is_retold_in_chinese() -> None:
    sentence = reasons.reason(reasons.TOO_FEW_READINGS, total=1, least=3, seconds=5.0)
    assert translator("zh_CN").retell(sentence) == "最近 5 秒内只有 1 次读数，至少需要 3 次"
    assert translator("zh_CN").retell(reasons.WATCHING) == "仍在观察"


def test_what_is_filled_in_is_translated_too() -> None:
    inner = Message(reasons.NO_ANSWER, {"error": "timed out"})
    for what in (inner, str(inner)):
        message = Message(GOES_BACK, {"what": what})
        assert translator("zh_CN")(message) == "开始回滚：无应答：timed out"
        assert translator("en")(message) == "goes back: no answer: timed out"


@pytest.mark.parametrize("locale", ["en", "fr", "zh_CN"])
def test_what_has_no_translation_stays_english(locale: str) -> None:
    say = Translator(locale)
    assert say.text("nothing like this {here}", here="at all") == "nothing like this at all"
    assert say(Message("")) == ""
    assert say.retell("nothing like this") == "nothing like this"


def test_english_reads_no_catalogue() -> None:
    code = (
        "import sys, lastgood.translation as t; t.translator('en').text('x'); print('gettext' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
