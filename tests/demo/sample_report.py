"""A demonstration that never was, for the report to show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

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
from lastgood.demo.shoppers import Seen

FORTH = [
    ("Look at what is there", "查看当前状态", 0.2),
    ("Take a snapshot of shop@prod", "为 shop@prod 做快照", 0.7),
    ("Rehearse the migrations on a copy", "在副本上演练迁移", 1.4),
    ("Place configuration", "放置配置", 0.05),
    ("Migrate: 0002_gift_notes", "迁移：0002_gift_notes", 0.12),
    ("Start the new generation", "启动新一代", 0.9),
    ("Shift the traffic", "切换流量", 0.02),
    ("Watch", "观察", 3.1),
]
BACK = [
    ("Traffic back to the old generation", "流量切回旧一代", 0.012),
    ("Workers back to the old generation", "工作进程切回旧一代", 0.31),
    ("Configuration back", "配置恢复", 0.02),
    ("Revert the schema: 0002_gift_notes", "还原表结构：0002_gift_notes", 0.09),
    ("Measure again", "重新测量", 4.0),
]
SITES = {"us": 18.0, "de": 18.4, "jp": 18.9}


def _rows(unit: str, begin: float, what: list[tuple[str, str, float]], back: bool) -> list[StepRow]:
    rows = []
    for en, zh, seconds in what:
        broke = en == "Watch"
        rows.append(StepRow(unit, Words(en, zh), begin, seconds, way_back=back, failed=broke))
        begin += seconds + 0.02
    return rows


def _seen(site: str, bad: float, good: float) -> list[Seen]:
    return [
        Seen(1000 + n / 8, 0.02, site, "checkout", 502 if bad < n / 8 < good and n % 5 == 0 else 201)
        for n in range(8 * 45)
    ]


def sample() -> ReportData:
    """Three sites, a way back on each, everything proven."""
    curves, steps = [], []
    for site, start in SITES.items():
        unit = f"storefront@prod/{site}"
        bad, noticed = start + 3.5, start + 6.6
        moments = (bad, noticed, noticed + 0.05, noticed + 0.6, noticed + 4.7)
        marks = tuple(Mark(kind, at) for kind, at in zip(MarkKind, moments, strict=True))
        points = success_rates(_seen(site, bad, noticed + 0.05), site, 1000, 1045)
        curves.append(SiteCurve(site, unit, points, marks))
        steps += _rows(unit, start, FORTH, back=False) + _rows(unit, noticed, BACK, back=True)
    return ReportData(
        started_at=datetime(2026, 11, 23, 7, 40, tzinfo=UTC),
        seconds=45.0,
        good_commit="4f1c9e0b7a3d5e6f",
        bad_commit="b07d3a5c11e8f902",
        limit=0.97,
        figures=Figures(3.1, 0.6, requests=3240, failed=15, failed_after_back=0),
        curves=tuple(curves),
        steps=tuple(steps),
        criteria=tuple(
            CriterionRow(f"storefront@prod/{site}", *row)
            for site in SITES
            for row in [
                ("orders", 0.97, 0.804, 74, 92, True),
                ("errors", 0.9, 0.934, 258, 276, False),
                ("probe", 0.9, 1.0, 6, 6, False),
            ]
        ),
        ledger=tuple(LedgerRow(site, 355, 355, 355) for site in SITES),
        version="0.1.0",
        machine="2 cores, Linux 6.18",
    )


def unproven() -> ReportData:
    """The same, with books that do not add up."""
    good = sample()
    missing = Words("1 acknowledged order is missing: <17>", "缺少 1 个已确认的订单：<17>")
    return replace(
        good,
        problems=(missing,),
        ledger=(
            replace(good.ledger[0], in_database=354, shipped_once=354, problems=(missing,)),
            *good.ledger[1:],
        ),
    )
