"""bdjax: can this backdoor be fine-tuned away, and can that one survive it?"""

__version__ = "0.1.0"
