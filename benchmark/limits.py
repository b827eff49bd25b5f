"""The largest values that settings and options take.

They are far beyond any use. Beyond them work would end in a traceback of a library's, or take memory or time without
limit; what fits a bound and not the machine, `benchmark.memory` refuses.
"""

MOST_EPISODES = 100_000
MOST_REPEATS = 1_000_000
MOST_PROCESSES = 1024
LARGEST_BATCH = 1_000_000
LARGEST_IMAGE = 2048
LARGEST_SEED = 2**62
