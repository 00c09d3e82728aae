"""State of a machine and an installation for a bug report: `v2f-gan info`.

Only the standard library is imported here, so that it works where any other package is missing or broken.
Packages are imported in a separate process (loading.py), which may hang or crash.
"""
