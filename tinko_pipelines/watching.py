"""The use cases that look at the timing model at work: why a case is retried when it is, and drift. Holds no decision of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tinko_pipelines.errors import TinkoError
from tinko_pipelines.learning import TRAINING_SET, Learning

if TYPE_CHECKING:
    from tinko_pipelines.model.drift import Finding

DRIFT_DAYS = 28.0
DRIFT_NOTE = "timing-drift"
TRAINED_LATELY = timedelta(days=3)
"""A candidate so young has seen what the last look found, as far as anybody can; another one is no better."""


@dataclass(frozen=True)
class Watching(Learning):
    """Looks at what the model in use does; changes nothing but its own note."""

    def explain_case(self, reference: str) -> dict[str, Any]:
        """A case's plan, who made it and why so, and what the model sees in the next 168 hours."""
        from tinko_pipelines.model.explain import outlook, plan_told, version_in
        from tinko_pipelines.retry.files import find_case

        now = self.clock.now()
        with self.ledger.read() as connection:
            case = find_case(connection, reference)
        found = {
            "case": case["id"], "state": case["state"], "due_at": case["due_at"],
            "policy_version": case["policy_version"], "model": version_in(case["policy_version"]),
            "plan": plan_told(case),
        }  # fmt: skip
        rows = self.lake.read_derived("verdicts", "tinko plan").to_pylist()
        row = next((one for one in rows if one["debt_id"] == case["debt_id"]), None)
        named = found["model"] or getattr(self.registry.promoted(), "id", None)
        if row is None or named is None:
            return {**found, "outlook": None}
        version = self.registry.version(str(named))
        seen = outlook(self.foresight(version, now), row, rows, now)
        return {**found, "seen_by": version.id, "outlook": asdict(seen)}

    def watch_drift(self) -> list[Finding]:
        """Hold the last weeks against those the model in use was trained in, and keep what was found."""
        now = self.clock.now()
        findings = [*self._language(now), *self._timing_drift(now)]
        told = [asdict(finding) for finding in findings]
        retrain = any(finding.retrain for finding in findings)
        self.lake.write_note(DRIFT_NOTE, {"at": now.isoformat(), "retrain": retrain, "findings": told})
        return findings

    def _language(self, now: datetime) -> Sequence[Finding]:
        from tinko_pipelines.model.drift import new_words, unknown_share

        verdicts = self.lake.read_derived("verdicts", "tinko plan")
        return unknown_share(verdicts, now, DRIFT_DAYS), new_words(verdicts, now, DRIFT_DAYS)

    def _timing_drift(self, now: datetime) -> Sequence[Finding]:
        import pyarrow.compute as pc

        from tinko_pipelines.model.drift import (
            Finding,
            calibration_shifted,
            features_shifted,
            scores_shifted,
        )

        version = self.registry.promoted()
        if version is None or not self.lake.has_derived(TRAINING_SET):
            return ()
        since, attempts, evaluation = (
            now - timedelta(days=DRIFT_DAYS),
            self.attempts(),
            self.evaluation(version),
        )
        recent = attempts.filter(pc.greater_equal(attempts["attempted_at"], since))
        if not recent.num_rows:
            return ()
        try:
            model = self._opened(version)
            measured = self.workshop.evaluate(model, attempts, since, now, evaluation["base_rate"])
        except TinkoError as error:
            return (Finding("scores", False, str(error), "`tinko model rollback` plans without it"),)
        shifted = features_shifted(self.registry.card(version).get("profile") or {}, recent)
        return shifted, scores_shifted(evaluation, measured), calibration_shifted(measured)

    def drift_found(self) -> dict[str, Any]:
        """What the last look at drift found; empty before the first."""
        return self.lake.read_note(DRIFT_NOTE)

    def drift_asks_for_training(self) -> str | None:
        """Why a model should be trained now: drift, and no version of the last days; else None."""
        found = self.drift_found()
        newest = max((one.version.made_at for one in self.registry.versions()), default="")
        lately = (self.clock.now() - TRAINED_LATELY).isoformat()
        if not found.get("retrain") or newest > min(str(found["at"]), lately):
            return None
        return "; ".join(str(one["told"]) for one in found["findings"] if one["retrain"])
