"""Systems that are a file of the user's own: a training function, or a whole system, by path.

``./train.py:train`` names what a file holds. The file is read once, with the local modules it imports, and that text is
what every worker runs: later changes of the file change nothing of a sweep under way, and no node needs the file.
Only a person names code: the text comes from a sweep file that somebody runs or from a call in Python, never from a
record, a dataset or an artifact.
"""
