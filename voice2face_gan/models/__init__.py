"""The networks. Nothing here knows of data, training, evaluation or the command line."""
