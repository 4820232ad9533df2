"""What the SQL linter takes for dbt's `target`."""

type = "duckdb"
