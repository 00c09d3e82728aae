"""The recipe: what TOML files say, its keys and the checks on them."""
