"""What the launches of the benchmark's cases do: trips of loops, ways not taken and bytes, from the sizes of the case.

One function for each kernel. The numbers repeat what the drivers (csrc/cuda/*/*.cu) decide, so far as a launch's grid
does not say it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from execution import Work
from launches import Launch

from fimo_fast.bench import Case

from . import common, outer, products, sketches, topk
from .common import Before

WORKS: Mapping[str, Callable[[Launch, Case, Before], Work]] = {
    "signs_kernel": sketches.signs,
    "normal_kernel": sketches.normal,
    "srht_kernel": sketches.srht,
    "sjlt_table_kernel": sketches.sjlt_table,
    "sjlt_kernel": sketches.sjlt,
    "sjlt_products_kernel": sketches.sjlt,
    "add_parts_kernel": sketches.add_parts,
    "add_parts_sliced_kernel": sketches.add_parts_sliced,
    "srht_short_kernel": sketches.srht_short,
    "mask_kernel": sketches.mask,
    "zeros_kernel": outer.zeros,
    "form_few_kernel": outer.form_few,
    "form_tile_kernel": outer.form_tile,
    "outer_mask_kernel": outer.outer_mask,
    "mask_positions_kernel": common.small,
    "tensor_table_kernel": outer.tensor_table,
    "tensor_kernel": outer.tensor,
    "product_kernel": products.product,
    "topk_product_kernel": topk.topk_product,
    "finish_product_kernel": products.finish,
    "gram_dot_kernel": outer.gram_dot,
    "pair_norm_kernel": outer.pair,
    "pair_dot_kernel": outer.pair,
    "pair_finish_kernel": common.small,
    "sum_squares_kernel": outer.squares,
    "norm_finish_kernel": common.small,
    "topk_select_kernel": topk.topk_select,
    "topk_select_warp_kernel": topk.topk_select_warp,
    "topk_filter_kernel": common.small,
    "rows_keys_kernel": sketches.rows,
    "rows_rank_kernel": common.small,
    "rows_out_of_range_kernel": common.small,
    "rows_sjlt_kernel": sketches.rows,
    "rows_srht_kernel": sketches.rows,
}
