"""How much memory a speed-up may take, where the rest goes, and how many tokens a fit looks at."""

from typing import Literal

Placement = Literal["device", "host", "disk"]
"""Where hidden states rest: in the device's memory, in the machine's, or in memory-mapped files."""

ACTIVATION_CACHE_BYTES = 4 * 2**30
"""Activations of one MLP that are held on the device; more than that are computed a second time."""

SWEEP_BYTES = 2**28
"""Hidden states of all the cut models that a depth sweep runs side by side."""

FIT_TOKENS_PER_INPUT = 32
"""Tokens that determine an MLP's producers, for each of its inputs."""
