"""Commands of `v2f-gan`, one file each."""
