"""What leaves the house: the bundle, its check, its card, and the page that tells a person what happened.

Nothing here trains or judges. A bundle is read and written without pickle, and the report reads only the files of the
run folder, so that it can be made again at any later time from the evidence that the run kept.
"""
