"""The command line."""

import os

# Commands draw one bar of their own. tqdm reads this when it is first imported, which every Hub client does.
os.environ.setdefault("TQDM_DISABLE", "1")
