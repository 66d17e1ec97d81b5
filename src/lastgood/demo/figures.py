"""What the story proved: figures and report data, from the journal, the samples and the customers' notes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime

from lastgood import __version__
from lastgood.bootstrap.service import Service
from lastgood.demo.acts import DE, JP, US, Told, label, service_of, step_time
from lastgood.demo.ledger import LedgerResult, SiteLedger, read
from lastgood.demo.rates import success_rates
from lastgood.demo.report_data import (
    CriterionRow,
    Figures,
    LedgerRow,
    Mark,
    MarkKind,
    ReportData,
    SiteCurve,
    StepRow,
    Words,
)
from lastgood.domain.criterion import Verdict
from lastgood.domain.message import N_, Message
from lastgood.domain.rollout import JournalEntry, Rollout, RolloutState
from lastgood.domain.rollout import Mark as Noted
from lastgood.translation import translator

CRITERION = "orders"
BAD_IMAGE = "3"
WAY_BACK = N_("Traffic first, then workers, configuration and schema; then measured again.")


def moments(told: Told, service: Service) -> Mapping[MarkKind, float | None]:
    """Seconds since 1970 of the five moments; None for what did not happen."""
    back = f"{told.failed}-back"
    known = {r.id for r in service.history(US, 50)[0]}
    entries = service.show(back)[0].entries if back in known else ()
    done = [e for e in entries if e.mark is Noted.DONE and e.step not in ("verify", "back:evidence")]
    detected = [step_time(service, told.failed, step, Noted.FAILED) for step in ("watch", "guard")]
    verified = told.ends.get(("bad", US))
    return {
        MarkKind.DEPLOYED: step_time(service, told.failed, "shift", Noted.DONE),
        MarkKind.DETECTED: next((d for d in detected if d is not None), None),
        MarkKind.TRAFFIC_BACK: step_time(service, back, "back:shift", Noted.DONE),
        MarkKind.RESTORED: done[-1].at.timestamp() if done else None,
        MarkKind.VERIFIED: verified.finished_at.timestamp()
        if verified and verified.finished_at and verified.state is RolloutState.VERIFIED
        else None,
    }


def without_registry(told: Told, service: Service) -> float | None:
    """Seconds from the wish to go back until the traffic was there, with registry and cache gone."""
    if not told.without_registry:
        return None
    asked = service.show(told.without_registry)[0].rollout.created_at
    return _between(asked.timestamp(), step_time(service, told.without_registry, "back:shift", Noted.DONE))


def report_data(told: Told) -> ReportData:
    """Everything the report shows; ``problems`` names every promise that was not kept."""
    service = service_of(told.world)
    when = moments(told, service)
    ledger = told.ledger or LedgerResult((), 0, 0, 0)
    failed = service.show(told.failed)[0].rollout
    marks = tuple(Mark(kind, at - told.began) for kind, at in when.items() if at is not None)
    seen = list(read(told.world.seen))
    curves = tuple(
        SiteCurve(
            label(unit), str(unit),
            success_rates(seen, label(unit), told.began, told.customers_left),
            marks if unit == US else (),
        )
        for unit in told.world.ports if unit.environment == "prod"
    )  # fmt: skip
    return ReportData(
        started_at=datetime.fromtimestamp(told.began, UTC),
        seconds=told.ended - told.began,
        good_commit=told.good_commit,
        bad_commit=told.bad_commit,
        limit=next((f.limit for f in failed.gate.findings if f.criterion == CRITERION), 0.0)
        if failed.gate
        else 0.0,
        figures=Figures(
            _between(when[MarkKind.DEPLOYED], when[MarkKind.DETECTED]),
            _between(when[MarkKind.DETECTED], when[MarkKind.RESTORED]),
            ledger.requests, ledger.failed, ledger.failed_after, without_registry(told, service),
            *_data_back(told, service),
        ),
        curves=curves,
        steps=(*_steps(told, service, failed, back=False), *_back_steps(told, service)),
        criteria=_criteria(failed),
        ledger=tuple(_ledger_row(site) for site in ledger.sites),
        problems=tuple(both(p) for p in problems(told, when, ledger)),
        version=__version__,
        machine=f"{platform.system()} {platform.release()}, {platform.machine()}",
        in_containers=told.in_containers,
        restored=bool(told.restored),
        way_back_note=both(Message(WAY_BACK)),
    )  # fmt: skip


def problems(told: Told, when: Mapping[MarkKind, float | None], ledger: LedgerResult) -> list[Message]:
    """Every promise of the demonstration that was not kept; empty when all is proven."""
    found: list[Message] = []
    end = told.ends.get(("bad", US))
    if end is None or end.state is not RolloutState.VERIFIED or end.id == told.failed:
        state = end.state.value if end else "-"
        found.append(Message(N_("prod/us did not come back verified: {state}"), {"state": state}))
    if when[MarkKind.DETECTED] is None:
        found.append(Message(N_("the bad release was not noticed")))
    service = service_of(told.world)
    found += [*_container_problems(told, service), *_restore_problems(told)]
    if service.drift(US):
        found.append(Message(N_("prod/us differs from what it should have come back to")))
    if end is not None and end.target != told.ends["good", US].target:
        found.append(Message(N_("prod/us is not on the release it came from")))
    if ledger.failed_after:
        words = {"count": ledger.failed_after}
        found.append(Message(N_("{count} requests failed once the traffic was back"), words))
    if not ledger.sites or not ledger.whole or ledger.acknowledged != ledger.in_database - _unheard(ledger):
        found.append(
            Message(N_("the orders customers were told about are not exactly those in the database"))
        )
    return found


def _container_problems(told: Told, service: Service) -> list[Message]:
    """What only the story with containers promises: one site alone met the bad image, and one went back to
    the first image without registry and cache.
    """
    if not told.in_containers:
        return []
    found: list[Message] = []
    met = {seen.site for seen in read(told.world.seen) if seen.release == BAD_IMAGE}
    if others := sorted(met - {label(US)}):
        words = {"sites": ", ".join(others)}
        found.append(Message(N_("customers of {sites} met the bad image"), words))
    end = told.ends.get(("back", JP))
    if end is None or end.state is not RolloutState.VERIFIED or end.target != told.ends["open", JP].target:
        found.append(Message(N_("prod/jp did not come back to its first image without the registry")))
    for unit in (DE, JP):
        if service.drift(unit):
            found.append(Message(N_("{unit} differs from what it should be"), {"unit": label(unit)}))
    return found


def _data_back(told: Told, service: Service) -> tuple[float | None, float | None, int]:
    """Seconds until the database was open again, seconds it was closed, later writes carried over."""
    if not told.restored:
        return None, None, 0
    progress = service.show(told.restored)[0]
    swap = next((e for e in progress.entries if e.step == "swap" and e.mark is Noted.DONE), None)
    if swap is None:
        return None, None, 0
    took = (swap.at - progress.rollout.created_at).total_seconds()
    return took, float(swap.data["fence_seconds"]), sum(swap.data["carried"].values())


def _restore_problems(told: Told) -> list[Message]:
    if not told.restored:
        return []
    found: list[Message] = []
    end = told.ends.get(("restore", US))
    if end is None or end.id != told.restored or end.state is not RolloutState.VERIFIED:
        state = end.state.value if end else "-"
        found.append(
            Message(N_("the database of prod/us did not come back verified: {state}"), {"state": state})
        )
    if not told.prices_back:
        found.append(Message(N_("the prices of prod/us are not what they were")))
    return found


def _unheard(ledger: LedgerResult) -> int:
    return sum(len(site.unheard) for site in ledger.sites)


def _between(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else second - first


def _back_steps(told: Told, service: Service) -> tuple[StepRow, ...]:
    end = told.ends.get(("bad", US))
    return _steps(told, service, end, back=True) if end and end.id != told.failed else ()


def _steps(told: Told, service: Service, rollout: Rollout, *, back: bool) -> tuple[StepRow, ...]:
    entries = service.show(rollout.id)[0].entries
    titles = {step.id: step.title for step in rollout.plan.steps}
    rows = []
    for begun in (e for e in entries if e.mark is Noted.INTENT):
        end = _end_of(begun, entries)
        if end is not None:
            rows.append(
                StepRow(
                    str(rollout.unit), both(titles[begun.step]), begun.at.timestamp() - told.began,
                    (end.at - begun.at).total_seconds(), back, end.mark is Noted.FAILED,
                )
            )  # fmt: skip
    return tuple(rows)


def _end_of(begun: JournalEntry, entries: tuple[JournalEntry, ...]) -> JournalEntry | None:
    ends = (Noted.DONE, Noted.FAILED)
    return next((e for e in entries if e.step == begun.step and e.mark in ends), None)


def _criteria(failed: Rollout) -> tuple[CriterionRow, ...]:
    findings = failed.gate.findings if failed.gate else ()
    return tuple(
        CriterionRow(
            str(failed.unit), f.criterion, f.limit, f.measured, f.good, f.total, f.verdict is Verdict.FAILED
        )
        for f in findings
    )


def _ledger_row(site: SiteLedger) -> LedgerRow:
    kinds = {
        N_("told but not in the database: {orders}"): site.missing,
        N_("told twice: {orders}"): site.doubled,
        N_("not paid exactly once: {orders}"): site.not_paid_once,
        N_("not shipped exactly once: {orders}"): site.not_shipped_once,
        N_("in the database, but nobody was told: {orders}"): site.unexplained,
        N_("gift note lost: {orders}"): site.notes_lost,
    }
    found = [
        Message(text, {"orders": ", ".join(str(o) for o in orders[:5])})
        for text, orders in kinds.items()
        if orders
    ]
    shipped = site.in_database - len(site.not_shipped_once)
    return LedgerRow(
        site.site, site.acknowledged, site.in_database, shipped, tuple(both(message) for message in found)
    )


def both(message: Message) -> Words:
    """A sentence in both languages, for the report."""
    return Words(str(translator("en")(message)), str(translator("zh_CN")(message)))
