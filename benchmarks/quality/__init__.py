"""Sketch quality on gradients of trained models: error of inner products and recall against time."""
