"""What a bug report needs to say of a machine and an installation: `v2f-gan info`.

Only the standard library is imported here, so that it works where any other package is missing or broken.
Packages are imported in a process of their own (loading.py), which may hang or crash.
"""
