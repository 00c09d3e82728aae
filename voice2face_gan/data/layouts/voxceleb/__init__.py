"""VoxCeleb1, VoxCeleb2 and the data sets made of them."""
