"""Publishing a checkpoint on the Hugging Face hub.

sending.py     the files uploaded: the checkpoint's two and a card
card.py        the model card, from the checkpoint and its evaluations; card.md.j2 is its template
texts.py       sentences of cards and reports: uses, limits, ethics
"""

from voice2face_gan.publish.sending import card_of, publish, publish_checkpoint

__all__ = ["card_of", "publish", "publish_checkpoint"]
