"""On real card attempts, where somebody has them: better than chance by the bar, and than logistic regression surely."""

import os
from pathlib import Path

import pytest

from benchmarks.model.timing import real_attempts

FILE = os.environ.get("TINKO_PSP_FILE")


@pytest.mark.skipif(FILE is None, reason="TINKO_PSP_FILE names no file of real attempts")
def test_success_of_real_retries_is_told_apart() -> None:
    found = real_attempts(Path(str(FILE)))
    assert found["learned"] > 5_000
    assert found["judged"] > 5_000
    assert found["auc"]["value"] >= 0.62
    assert found["auc"]["low"] > 0.6
    assert found["log_loss"]["value"] < found["regression_log_loss"] < found["base_log_loss"]
    assert found["gain"]["low"] > 0
