"""Where the time of a warm way back goes, as the journal has it."""

from __future__ import annotations

from datetime import UTC, datetime

from bench.support.driven import Driven
from bench.support.tables import line
from lastgood.domain.rollout import Mark, Rollout

PARTS = (
    "command → wish written",
    "→ guard window ended",
    "→ way back accepted",
    "→ its first step",
    "→ old generation seen ready",
    "→ traffic shifted and confirmed",
)


class Breakdown:
    """Milliseconds of each part, one list a part."""

    def __init__(self) -> None:
        self._parts: list[list[float]] = [[] for _ in PARTS]

    def add(self, made: Driven, back: Rollout, asked: float) -> None:
        """``back`` took back a rollout; ``asked``: time of the command (epoch)."""
        forward = made.service.show(back.undoes)[0]
        records = made.service.audit(str(back.unit), 20)
        wishes = [r.at for r in records if r.verb == "rollback" and r.data.get("undoes") == back.undoes]
        journal = {(e.step, e.mark): e.at for e in made.service.show(back.id)[0].entries}
        guard = next(e.at for e in forward.entries if e.step == "guard" and e.mark is Mark.FAILED)
        moments = [
            datetime.fromtimestamp(asked, UTC),
            min(at for at in wishes if at.timestamp() > asked),
            guard,
            back.created_at,
            journal["back:start", Mark.INTENT],
            journal["back:start", Mark.DONE],
            journal["back:shift", Mark.DONE],
        ]
        for part, begin, end in zip(self._parts, moments, moments[1:], strict=False):
            part.append((end - begin).total_seconds() * 1000)

    def show(self) -> None:
        for name, values in zip(PARTS, self._parts, strict=True):
            print(line(name, values))
