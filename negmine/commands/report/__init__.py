"""``negmine report``: a ledger, or two, as one page to look at.

``slices`` reads a ledger part by part; ``collect`` counts it, ``examples`` picks rows to read,
``compare`` holds two ledgers side by side; ``charts`` draws, ``page`` writes HTML, ``build`` is the
command.
"""
