"""Pictures in, embeddings and logits out.

A network is found by name (``zoo``), gets real weights (``weights``), is compiled once (``compiled``) and run once over each
picture (``embed``); classical descriptors and classifiers (``classical``) stand beside it; ``predict`` puts a trained head on
top. torch is imported only where a network is built from its Python definition, which happens once per set of weights.
"""
