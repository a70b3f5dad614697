"""Autoregressive unsupervised image segmentation (Ouali, Hudelot and Tami, ECCV 2020) in JAX and Flax."""
