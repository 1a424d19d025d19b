"""The production server: it knows a bundle and nothing else, and everything that comes in is a stranger's.

``launch`` starts and ends it, ``app`` has the routes, ``guard`` looks at every request before them, ``connection`` and ``limits``
bound what a client may cost. Pictures and JSON tensors are opened in child processes (``decoding`` here, ``decoder`` there);
``batcher`` runs what they send back; ``models`` holds the loaded bundles. torch is never loaded.
"""
