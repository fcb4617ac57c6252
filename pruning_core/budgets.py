"""How much memory a speed-up may take."""

ACTIVATION_CACHE_BYTES = 4 * 2**30
"""Activations of one MLP that are held on the device; more than that are computed a second time."""
