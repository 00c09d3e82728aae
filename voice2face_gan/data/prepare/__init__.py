"""Preparing a data set: from records to a store, in several processes or on several machines."""
