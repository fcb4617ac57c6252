"""How much memory a speed-up may take, where the rest goes, and how many tokens a fit looks at."""

from typing import Literal

Placement = Literal["device", "host", "disk"]
"""Where hidden states rest: in the device's memory, in the machine's, or in memory-mapped files."""

Weights = Literal["resident", "streamed"]
"""Whether all decoder layers stay on the device, or each is read when it is its turn."""

Solver = Literal["device", "host"]
"""Where sums over the calibration tokens are kept, and what follows from them is solved."""

ACTIVATION_CACHE_BYTES = 4 * 2**30
"""Activations of one MLP that are held on the device; more than that are computed a second time."""

SWEEP_BYTES = 2**28
"""Hidden states of all the cut models that a depth sweep runs side by side, where the layers stay."""

FIT_TOKENS_PER_INPUT = 32
"""Tokens that determine an MLP's producers, for each of its inputs."""

TOKENS_PER_BATCH = 4096
"""That pass a decoder layer at a time."""

TOKENS_PER_CPU_BATCH = 2048
"""Fewer, because a CPU is quickest while a batch's activations stay in its cache."""

LOGITS_PER_CHUNK = 2**24
"""Logits held at once, in float32 64 MiB; a whole window times the vocabulary would be gigabytes."""
