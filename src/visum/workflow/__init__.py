"""The whole story, read top to bottom: what each command does, in terms of what the rooms offer.

One file for each command: ``train`` is the main one; ``audit``, ``evaluate``, ``predict``, ``verify``, ``doctor`` and
``catalogue`` are the others. Only the story knows all rooms: what one needs of another is handed over here.
"""
