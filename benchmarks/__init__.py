"""Measurements of whole programs; each writes its figures to benchmarks/results/."""
