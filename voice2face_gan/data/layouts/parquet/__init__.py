"""Data sets kept in parquet files."""
