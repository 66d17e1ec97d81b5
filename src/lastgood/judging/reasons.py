"""Why a verdict is what it is, in one short sentence.

A finding keeps the filled English sentence; the templates are marked, so that a face can find the one
it came from and say it in the reader's language.
"""

from __future__ import annotations

from lastgood.domain.message import N_, Message

NO_CRITERIA = N_("no criteria")
WATCHING = N_("still watching")
NO_DATA = N_("no data")
NO_ANSWER = N_("no answer: {error}")
SILENT = N_("no answer for the last {seconds} s: {error}")
MISCOUNTED = N_("counts more good than total ({good} of {total})")
RULED_OUT = N_("{bad} of {total} failed: {limit} good is ruled out (evidence {evidence}, needed {needed})")
TOO_FEW_EVENTS = N_("{total} of at least {least} events")
BELOW = N_("{rate} good is below {limit}, but it may be chance")
BUILDING = N_("evidence of a breach is building (evidence {evidence}, needed {needed})")
GOOD_ENOUGH = N_("{good} of {total} events good")
OVER = N_("over {limit} for {seconds} s")
OVER_AT_END = N_("over {limit} at the end, for {seconds} s")
TOO_FEW_READINGS = N_("{total} of at least {least} readings in the last {seconds} s")
WITHIN = N_("{value} at the end, within {limit}")


def reason(template: str, **params: object) -> str:
    """The sentence; floats are shortened to what a reader needs."""
    shown = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in params.items()}
    return str(Message(template, shown))
