"""The use cases of the timing model: train, judge, promote, roll back, explain, watch. Holds no decision of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tinko_pipelines.errors import InputError, PromotionRefusedError, TinkoError
from tinko_pipelines.reading import Reading

if TYPE_CHECKING:
    import pyarrow as pa

    from tinko_pipelines.model.drift import Finding
    from tinko_pipelines.model.evaluation import Evaluation
    from tinko_pipelines.model.foresight import ModelForesight
    from tinko_pipelines.model.gates import Judgement
    from tinko_pipelines.model.journal import Act
    from tinko_pipelines.model.registry import Version
    from tinko_pipelines.retry.enrol import EnrolResult
    from tinko_pipelines.retry.policy import Policy

TRAINING_SET = "training_set"
DRIFT_DAYS = 28.0
TROUBLE_NOTE, DRIFT_NOTE = "timing-trouble", "timing-drift"


@dataclass(frozen=True, slots=True)
class Trained:
    """A candidate, how the gates judge it, and whether it was put to use by itself."""

    version: Version
    judgement: Judgement
    promoted: bool


@dataclass(frozen=True)
class Learning(Reading):
    """From attempts to the model that plans."""

    def attempts(self) -> pa.Table:
        """The training set as it was last made."""
        return self.lake.read_derived(TRAINING_SET, "tinko model train")

    def foresight(self, version: Version, now: datetime) -> ModelForesight:
        """That version of the model, and what it may know now."""
        from tinko_pipelines.model.foresight import Late, ModelForesight

        model = self.workshop.loads(self.registry.artefact(version))
        return ModelForesight(version.id, model, Late(lambda: self.workshop.history(self.attempts())), now)

    def policy(self, now: datetime) -> Policy:
        """How cases are planned: by the model in use; by the ladder alone where none is, or it cannot be used."""
        from tinko_pipelines.retry.policy import Policy

        foresight, trouble = None, []
        try:
            version = self.registry.promoted()
            foresight = None if version is None else self.foresight(version, now)
        except Exception as error:  # Whatever is wrong with a model, debts are planned.
            trouble.append(f"the timing model cannot be used: {error}"[:500])
        return Policy.from_settings(self.settings, foresight, trouble)

    def noted(self, result: EnrolResult, now: datetime) -> EnrolResult:
        """Remember whether the last plan could use the model."""
        if result.notices:
            self.lake.write_note(TROUBLE_NOTE, {"at": now.isoformat(), "notices": list(result.notices)})
        else:
            self.lake.drop_note(TROUBLE_NOTE)
        return result

    def timing_trouble(self) -> list[str]:
        """Why the last plan went by the ladder alone although a model is in use; empty when it did not."""
        return [str(notice) for notice in self.lake.read_note(TROUBLE_NOTE).get("notices", [])]

    def model_in_use(self) -> str | None:
        """The version that plans, None while the ladder does alone."""
        return self.registry.journal.pointer().promoted

    def train_timing(
        self, file: Path | None = None, outcome: str = "succeeded", *, by: str, reason: str
    ) -> Trained:
        """Train a candidate on the training set or on a table of attempts somebody exported, and keep it."""
        from tinko_pipelines.model.drift import profile

        now, in_use = self.clock.now(), self.registry.promoted()
        attempts = self.attempts() if file is None else self.workshop.read(file, outcome)
        used = None if in_use is None else self.workshop.loads(self.registry.artefact(in_use))
        made = self.workshop.train(attempts, now, used)
        card = {**made.card, "profile": profile(attempts)}
        if in_use is not None:
            on = cast("Evaluation", card["evaluation"])
            card["compared"] = {"version": in_use.id, "evaluation": self._measured(in_use, attempts, on)}
        version = self.registry.add(
            made.artefact, card, made.card_html, by=by, reason=reason, now=now, code_version=_code_version()
        )
        judgement, promoted = self.judged(version), False
        if self.settings.model_promotion == "auto":
            promoted = self._promote_by_itself(version, judgement)
        return Trained(version, judgement, promoted)

    def _measured(self, version: Version, attempts: pa.Table, on: Evaluation) -> Evaluation:
        since = datetime.fromisoformat(str(on["holdout"]["since"]))
        model = self.workshop.loads(self.registry.artefact(version))
        return self.workshop.evaluate(model, attempts, since, on["base_rate"])

    def _promote_by_itself(self, version: Version, judgement: Judgement) -> bool:
        now, by = self.clock.now(), "auto"
        if not judgement.passed:
            self.registry.note(
                "refused",
                version,
                by=by,
                reason="TINKO_MODEL_PROMOTION=auto",
                now=now,
                detail=judgement.refusal,
            )
            return False
        self.registry.promote(version, by=by, reason="it passes every gate", now=now)
        return True

    def evaluation(self, version: Version) -> Evaluation:
        """What was measured of it when it was made."""
        found = self.registry.card(version).get("evaluation")
        if not isinstance(found, dict):
            raise InputError(f"the card of {version.id} holds no evaluation: train the model again")
        return cast("Evaluation", found)

    def judged(self, version: Version) -> Judgement:
        """How the gates judge a version beside the model in use, on the version's own holdout."""
        from tinko_pipelines.model.gates import judge

        in_use, evaluation = self.registry.promoted(), self.evaluation(version)
        if in_use is None:
            return judge(evaluation, None)
        compared = self.registry.card(version).get("compared") or {}
        if compared.get("version") == in_use.id:
            return judge(evaluation, cast("Evaluation", compared["evaluation"]))
        return judge(evaluation, self._measured(in_use, self.attempts(), evaluation))

    def evaluate_model(self, reference: str | None) -> dict[str, Any]:
        """A version's own evaluation, and how the gates judge it now."""
        version = self.registry.version(reference)
        return {"version": version, "evaluation": self.evaluation(version), "judgement": self.judged(version)}

    def compare_models(self, one: str, other: str) -> dict[str, Any]:
        """Two versions on the attempts after both had been trained: by how much the second one's log loss is lower."""
        from tinko_pipelines.model.gates import gain

        versions = [self.registry.version(name) for name in (one, other)]
        own = [self.evaluation(version) for version in versions]
        later = max(own, key=lambda found: str(found["holdout"]["since"]))
        first, second = (
            own
            if gain(own[1], own[0])
            else [self._measured(each, self.attempts(), later) for each in versions]
        )
        better = gain(second, first)
        return {
            "first": versions[0].id, "second": versions[1].id, "attempts": first["attempts"],
            **{f"{place}_{name}": found["metrics"]["model"][name]
               for name in ("log_loss", "auc") for place, found in (("first", first), ("second", second))},
            "gain": None if better is None else dict(zip(("value", "low", "high"), better, strict=True)),
        }  # fmt: skip

    def promote(self, reference: str, *, reason: str, by: str, anyway: bool = False) -> tuple[Act, Judgement]:
        """Put a version to use from the next plan on; refused with PromotionRefusedError where a gate is shut, unless `anyway`."""
        version, now = self.registry.version(reference), self.clock.now()
        judgement = self.judged(version)
        if not (judgement.passed or anyway):
            self.registry.note("refused", version, by=by, reason=reason, now=now, detail=judgement.refusal)
            raise PromotionRefusedError(
                f"version {version.id} is not promoted, {judgement.refusal}. `--anyway` does it all the same and is kept"
            )
        overridden = anyway and not judgement.passed
        act = self.registry.promote(
            version, by=by, reason=reason, now=now, anyway=overridden, detail=judgement.refusal
        )
        return act, judgement

    def rollback_model(self, *, reason: str, by: str) -> Act:
        """Back to the model in use before, from the next plan on."""
        return self.registry.rollback(by=by, reason=reason, now=self.clock.now())

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
            model = self.workshop.loads(self.registry.artefact(version))
            measured = self.workshop.evaluate(model, attempts, since, evaluation["base_rate"])
        except TinkoError as error:
            return (Finding("scores", False, str(error), "`tinko model rollback` plans without it"),)
        shifted = features_shifted(self.registry.card(version).get("profile") or {}, recent)
        return shifted, scores_shifted(evaluation, measured), calibration_shifted(measured)

    def drift_found(self) -> dict[str, Any]:
        """What the last look at drift found; empty before the first."""
        return self.lake.read_note(DRIFT_NOTE)

    def drift_asks_for_training(self) -> str | None:
        """Why a model should be trained now: drift that no version made since could have learned; else None."""
        found = self.drift_found()
        if not found.get("retrain"):
            return None
        versions = [standing.version for standing in self.registry.versions()]
        if any(version.made_at > str(found["at"]) for version in versions):
            return None
        return "; ".join(str(one["told"]) for one in found["findings"] if one["retrain"])


def _code_version() -> str:
    from importlib.metadata import version

    return version("tinko-pipelines")
