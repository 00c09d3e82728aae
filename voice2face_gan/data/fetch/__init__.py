"""Fetching data sets that are lists of addresses. The only part of the package that uses the network."""
