"""The marts, verdicts and scores on a cluster of Spark, held against one machine's: `make spark`."""
