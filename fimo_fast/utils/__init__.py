"""Numbers, files, memory limits and progress: what every part may use.

May import: nothing of fimo_fast.
"""
