"""What a data scientist reads of columns and features is what there is."""

from pathlib import Path

from tinko_pipelines.model.timing.features import FEATURES
from tinko_pipelines.model.timing.leaks import AHEAD, ALONE_MAX, DRIFT, SUSPECT
from tinko_pipelines.model.timing.recovery import CLASS_LEAST, ISOTONIC_LEAST, ROWS_LEAST, TREES
from tinko_pipelines.model.timing.schema import COLUMNS
from tinko_pipelines.model.timing.split import HELD_SHARE, LEARNED_SHARE
from tinko_pipelines.model.timing.train import JUDGED_LEAST

TEXT = " ".join((Path(__file__).parents[3] / "docs" / "model.md").read_text("utf-8").split())


def test_every_column_and_feature_is_told_of() -> None:
    for column in COLUMNS:
        assert f"| `{column.name}` |" in TEXT
        assert f"| {column.sentence} |" in TEXT
    for feature in FEATURES:
        assert f"| `{feature.name}` | {feature.sentence} |" in TEXT


def test_the_numbers_that_decide_are_those_of_the_code() -> None:
    assert f"fewer than {ROWS_LEAST}, fewer than {CLASS_LEAST} of either outcome" in TEXT
    assert f"fewer than {JUDGED_LEAST} retries to judge by" in TEXT
    assert f"above {ALONE_MAX}, or above {SUSPECT} and by {AHEAD} more" in TEXT
    assert f"more than {DRIFT} of AUC" in TEXT
    assert f"below {ISOTONIC_LEAST:,} retries" in TEXT
    assert f"{TREES['max_iter']} of {TREES['max_leaf_nodes']} leaves" in TEXT
    assert (HELD_SHARE, LEARNED_SHARE) == (0.3, 0.75), "three customers in ten, three quarters of the retries"
