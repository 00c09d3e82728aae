"""Publishing a checkpoint on the Hugging Face hub.

sending.py     what is uploaded: the checkpoint's two files and a card
card.py        the model card, from what the checkpoint and its evaluations say; card.md.j2 has its words
texts.py       what cards and reports say alike: uses, limits, ethics
"""

from voice2face_gan.publish.sending import card_of, publish, publish_checkpoint

__all__ = ["card_of", "publish", "publish_checkpoint"]
