"""How good a classifier is, and how sure we can be of that: pure functions of arrays, NumPy and a little SciPy.

``metrics`` (visible dict ``METRICS``), ``ranking`` (AUC, average precision), ``intervals`` (Wilson, MOVER, DeLong, bootstrap),
``calibrate`` (temperature, thresholds, reliability), ``mistakes`` (wrong images, confused pairs) and ``evaluate``, which
puts them together into the block that ``metrics.json`` holds for one split. ``compare``, ``calibration`` and ``risk`` are about
several classifiers, about probabilities at their word, and about answering only what one is sure of.
"""
