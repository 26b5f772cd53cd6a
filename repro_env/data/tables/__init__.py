"""Rows of a database as one file of Parquet, whose bytes follow from the rows alone."""
