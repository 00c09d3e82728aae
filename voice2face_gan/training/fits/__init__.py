"""Parts of generators that are fitted in closed form, or by themselves, before the adversarial training."""
