"""How gradients are taken out of a model: hooks on one forward and backward pass, the plan for it, and its checks.

May import: what its package may, rules, batch_axis, parameters, terms, inner_products.
"""
