"""Where WikiText-2 is on the Hub, and which part of it is for what."""

REPOSITORY = "Salesforce/wikitext"
CONFIG = "wikitext-2-raw-v1"
SPLITS = {"calibration": "train", "evaluation": "test"}
