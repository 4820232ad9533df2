"""The models of the dbt project and their tests, as Dagster shows them: read from dbt's manifest, which says all there is to say.

dagster-dbt would do the same and imports dbt's adapters for it: 1.5 CPU-seconds in every process that loads the assets.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from dagster import (
    AssetCheckSpec,
    AssetKey,
    AssetSpec,
    TableColumn,
    TableColumnConstraints,
    TableConstraints,
    TableSchema,
)

from assets.ingest import OWNERS
from assets.recovery import ledger_export

UNIQUE_ID = "dbt/unique_id"


def asset_key(node: Mapping[str, Any]) -> AssetKey:
    """Of a model its own; of a source the asset that writes it, which for all tables of the ledger is one."""
    if node["resource_type"] != "source":
        return AssetKey(["marts" if "marts" in node["fqn"] else "dbt", node["name"]])
    if node["source_name"] in ("ledger", "build"):
        return ledger_export.key
    return AssetKey(str(node["name"]))


def model_specs(manifest: Mapping[str, Any]) -> list[AssetSpec]:
    """Every model that somebody may look at, with what it says of itself and of its columns."""
    return [
        AssetSpec(
            asset_key(node),
            deps=sorted(_made_of(manifest, node)),
            description=node["description"],
            group_name="report",
            owners=OWNERS,
            kinds={"dbt", "duckdb"},
            metadata={
                UNIQUE_ID: node["unique_id"],
                "dagster/table_name": f"{node['schema']}.{node['name']}",
                "dagster/column_schema": _columns(node),
            },
        )
        for node in _models(manifest)
    ]


def test_specs(manifest: Mapping[str, Any]) -> list[AssetCheckSpec]:
    """Every test of one such model as a check of it; a test of several belongs to none."""
    keys = {node["unique_id"]: asset_key(node) for node in _models(manifest)}
    return [
        AssetCheckSpec(
            node["name"], asset=keys[tested], blocking=True, metadata={UNIQUE_ID: node["unique_id"]}
        )
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and (tested := _tested(node)) in keys
    ]


def _tested(test: Mapping[str, Any]) -> str | None:
    """The model that a generic test stands at, or the only one that a test of its own asks."""
    asked: list[str] = test["depends_on"]["nodes"]
    attached: str | None = test.get("attached_node")
    return attached or (asked[0] if len(asked) == 1 else None)


def _is_hidden(node: Mapping[str, Any]) -> bool:
    """Whether nobody would look at it: it gives what was read other names, or says what a build that mends has to make anew."""
    return node["resource_type"] == "model" and not {"staging", "mending"}.isdisjoint(node["fqn"])


def _models(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and not _is_hidden(node)
    )


def _made_of(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> set[AssetKey]:
    """What it reads, and in the place of hidden models what those read."""
    keys = set()
    for name in node["depends_on"]["nodes"]:
        one = manifest["nodes"].get(name) or manifest["sources"][name]
        keys |= _made_of(manifest, one) if _is_hidden(one) else {asset_key(one)}
    return keys


def _columns(node: Mapping[str, Any]) -> TableSchema:
    columns = [
        TableColumn(
            name,
            type=one["data_type"] or "?",
            description=one["description"],
            constraints=TableColumnConstraints(),
        )
        for name, one in node["columns"].items()
    ]
    return TableSchema(columns, TableConstraints([]))
