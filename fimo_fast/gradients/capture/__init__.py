"""How gradients are taken out of a model: hooks on one forward and backward pass, the plan for it, and its checks.

May import: what gradients may; of its files only rules/, batch_axis, parameters, terms and inner_products.
"""
