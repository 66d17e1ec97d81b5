"""Shares as whole weights of servers. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HIGHEST = 256
LEAST_SCALE = 128
"""The heaviest server has at least this: near the same height in every step, so that in the middle of a
step no share leaves the range between its old and its new one."""


def weights_for(shares: Sequence[tuple[float, Mapping[str, int]]]) -> dict[str, int]:
    """The weight (1 to 256) of each server so that the groups get their percents with the least error.

    ``shares``: for each group its percent (above 0) and its servers with their weights among each other.
    """
    wanted = {
        name: percent * ratio / sum(servers.values())
        for percent, servers in shares
        for name, ratio in servers.items()
    }
    heaviest = max(wanted.values())
    best: dict[str, int] = {}
    least = float("inf")
    for scale in range(HIGHEST, LEAST_SCALE - 1, -1):
        weights = {name: max(1, round(scale * part / heaviest)) for name, part in wanted.items()}
        error = _error(shares, weights)
        if error < least - 1e-9:
            best, least = weights, error
    return best


def _error(shares: Sequence[tuple[float, Mapping[str, int]]], weights: Mapping[str, int]) -> float:
    """The largest miss of a group, in percentage points."""
    total = sum(weights.values())
    return max(
        abs(100.0 * sum(weights[name] for name in servers) / total - percent) for percent, servers in shares
    )
