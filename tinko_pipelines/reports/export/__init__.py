"""Tables and views of the snapshot as files for other programs: CSV, Parquet, Excel. Computes nothing."""

from tinko_pipelines.reports.export.run import FORMATS, Exported, export_all, export_one

__all__ = ["FORMATS", "Exported", "export_all", "export_one"]
