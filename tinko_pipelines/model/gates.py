"""Whether a candidate may be put to use: three questions to two evaluations. Reads no file and promotes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinko_pipelines.model.evaluation import Bin, Evaluation, draws


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the gates allow."""

    calibration_gap: float = 0.03
    calibration_rows: int = 200
    segment_share: float = 0.05
    segment_rows: int = 500
    customers_groups: int = 20
    sigmas: float = 2.58


@dataclass(frozen=True, slots=True)
class Gate:
    """One question, whether it was passed, and by how much or how little."""

    name: str
    passed: bool
    told: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """All gates; a candidate is promoted when each is passed."""

    against: str
    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return all(gate.passed for gate in self.gates)

    @property
    def refusal(self) -> str:
        """What speaks against it, in one sentence; empty when nothing does."""
        return "; ".join(f"{gate.name}: {gate.told}" for gate in self.gates if not gate.passed)


def judge(candidate: Evaluation, in_use: Evaluation | None, bounds: Bounds | None = None) -> Judgement:
    """Hold the candidate against the model in use on the same attempts, or against the base rate where none is in use."""
    bounds = bounds or Bounds()
    against = "the base rate" if in_use is None else "the model in use"
    gates = (
        _better(candidate, in_use, against, bounds),
        _calibrated(candidate["by_category"], bounds),
        _no_segment_worse(candidate, in_use, against, bounds),
    )
    return Judgement(against, gates)


def gain(candidate: Evaluation, in_use: Evaluation | None) -> tuple[float, float, float] | None:
    """By how much the candidate's log loss is lower, with its paired 95 % interval; None where the attempts differ."""
    if in_use is not None and in_use["holdout"]["sha256"] != candidate["holdout"]["sha256"]:
        return None
    rows = np.array([group["attempts"] for group in candidate["groups"]], dtype=float)
    ours = np.array([group["log_loss"] for group in candidate["groups"]])
    theirs = np.array(
        [group["base_log_loss"] for group in candidate["groups"]]
        if in_use is None
        else [group["log_loss"] for group in in_use["groups"]]
    )
    drawn = draws(len(rows))
    counts = drawn @ rows
    values = (drawn @ (theirs - ours))[counts > 0] / counts[counts > 0]
    low, high = np.quantile(values, [0.025, 0.975])
    return float((theirs - ours).sum() / rows.sum()), float(low), float(high)


def _better(candidate: Evaluation, in_use: Evaluation | None, against: str, bounds: Bounds) -> Gate:
    name = "log loss"
    filled = sum(group["attempts"] > 0 for group in candidate["groups"])
    if filled < bounds.customers_groups:
        told = f"too few customers in the holdout to tell it from noise ({filled} groups of {bounds.customers_groups})"
        return Gate(name, False, told)
    found = gain(candidate, in_use)
    if found is None:
        told = "both were measured on different attempts; run `tinko model compare` with the training set"
        return Gate(name, False, told)
    better, low, high = found
    told = f"{better:+.4f} better than {against}, 95 % interval {low:+.4f} to {high:+.4f}"
    if low > 0:
        return Gate(name, True, told)
    return Gate(name, False, f"{told}: not above zero, short by {0 - low:.4f}")


def _calibrated(bins: Sequence[Bin], bounds: Bounds) -> Gate:
    wrong = []
    for one in bins:
        if one["attempts"] < bounds.calibration_rows:
            continue
        share = one["predicted"]
        noise = bounds.sigmas * math.sqrt(share * (1 - share) / one["attempts"])
        allowed = max(bounds.calibration_gap, noise)
        gap = abs(one["observed"] - share)
        if not gap <= allowed:
            wrong.append(
                f"{one['name']} predicted {share:.3f}, came in at {one['observed']:.3f} in {one['attempts']:,} attempts"
                f" (off by {gap:.3f}, allowed {allowed:.3f})"
            )
    return Gate("calibration", not wrong, "; ".join(wrong) or "within bounds in every category")


def _no_segment_worse(candidate: Evaluation, in_use: Evaluation | None, against: str, bounds: Bounds) -> Gate:
    others = {one["name"]: one["log_loss"] for one in (in_use or candidate)["segments"]}
    if in_use is None:
        others = {one["name"]: one["base_log_loss"] for one in candidate["segments"]}
    wrong = []
    for one in candidate["segments"]:
        other = others.get(one["name"])
        if other is None or one["attempts"] < bounds.segment_rows:
            continue
        worse = one["log_loss"] / other - 1 if other > 0 else 0.0
        if not worse <= bounds.segment_share:
            wrong.append(
                f"{one['name']} is {worse:.1%} worse than with {against} ({one['log_loss']:.4f} to {other:.4f},"
                f" {one['attempts']:,} attempts; allowed {bounds.segment_share:.0%})"
            )
    return Gate("segments", not wrong, "; ".join(wrong) or "none is much worse")
