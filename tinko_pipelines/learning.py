"""The use cases of the timing model: train, judge, plan by it, promote, roll back. Holds no decision of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tinko_pipelines.errors import InputError, PromotionRefusedError, StoreError
from tinko_pipelines.reading import Reading

if TYPE_CHECKING:
    import pyarrow as pa

    from tinko_pipelines.model.evaluation import Evaluation
    from tinko_pipelines.model.foresight import ModelForesight
    from tinko_pipelines.model.gates import Judgement
    from tinko_pipelines.model.journal import Act
    from tinko_pipelines.model.registry import Version
    from tinko_pipelines.model.workshop import TimingModel
    from tinko_pipelines.retry.enrol import EnrolResult
    from tinko_pipelines.retry.policy import Policy

TRAINING_SET = "training_set"
TROUBLE_NOTE = "timing-trouble"


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

        model = self._opened(version)
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

        now, in_use = self.clock.now(), self._in_use()
        attempts = self.attempts() if file is None else self.workshop.read(file, outcome)
        made = self.workshop.train(attempts, now, in_use[1] if in_use else None)
        card = {**made.card, "profile": profile(attempts)}
        if in_use is not None:
            beside = self._measured(in_use[1], attempts, cast("Evaluation", card["evaluation"]))
            card["compared"] = {"version": in_use[0].id, "evaluation": beside}
        version = self.registry.add(
            made.artefact, card, made.card_html, by=by, reason=reason, now=now, code_version=_code_version()
        )
        judgement, promoted = self.judged(version), False
        if self.settings.model_promotion == "auto":
            promoted = self._promote_by_itself(version, judgement)
        return Trained(version, judgement, promoted)

    def _in_use(self) -> tuple[Version, TimingModel] | None:
        """The model in use; None where there is none, or it can no longer be opened and so is no measure."""
        try:
            version = self.registry.promoted()
            return None if version is None else (version, self._opened(version))
        except StoreError:
            return None

    def _opened(self, version: Version) -> TimingModel:
        return self.workshop.loads(self.registry.artefact(version))

    def _measured(self, model: TimingModel, attempts: pa.Table, on: Evaluation) -> Evaluation:
        since, until = (
            datetime.fromisoformat(moment) for moment in (on["holdout"]["since"], on["holdout"]["until"])
        )
        return self.workshop.evaluate(model, attempts, since, until, on["base_rate"])

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
        """How the gates judge a version beside the model in use, on the version's own holdout; that one beside the base rate."""
        from tinko_pipelines.model.gates import judge

        in_use, evaluation = self._in_use(), self.evaluation(version)
        if in_use is None or in_use[0].id == version.id:
            return judge(evaluation, None)
        compared = self.registry.card(version).get("compared") or {}
        if compared.get("version") == in_use[0].id:
            return judge(evaluation, cast("Evaluation", compared["evaluation"]))
        return judge(evaluation, self._measured(in_use[1], self.attempts(), evaluation))

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
            else [self._measured(self._opened(each), self.attempts(), later) for each in versions]
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


def _code_version() -> str:
    from importlib.metadata import version

    return version("tinko-pipelines")
