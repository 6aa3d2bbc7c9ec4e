"""What the kernels are compared with: the best expressions in plain torch, and other libraries.

May import: what its package may, case, peak.
"""
