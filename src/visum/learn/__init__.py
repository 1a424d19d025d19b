"""How a classifier learns from what a frozen backbone sees: ``probe`` fits a linear head on stored embeddings. Arrays in,
arrays out: nothing here decodes pictures, scores models or writes files."""
