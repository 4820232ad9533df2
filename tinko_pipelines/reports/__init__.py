"""From lake and ledger to numbers: dbt builds the marts, a snapshot publishes them, query and report read it."""
