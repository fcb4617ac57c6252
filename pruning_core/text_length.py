"""How long a text is. Each version of a text is measured once, for a long one takes seconds."""

from functools import lru_cache

from tokenizers import Tokenizer

from pruning_core.paths import FileVersion
from pruning_core.text_source import TextSource

GENEROUS_CHARACTERS_PER_TOKEN = 8


@lru_cache(maxsize=256)
def count_bytes(text: TextSource) -> int:
    return len(text.read().encode())


@lru_cache(maxsize=256)
def count_tokens(text: TextSource, tokenizer_file: FileVersion, enough: int) -> int:
    """Count the tokens of a text, or of its beginning where that alone has more than `enough`."""
    tokenizer = _read_tokenizer(tokenizer_file)
    content = text.read()
    # Nearly always enough of a long text.
    beginning = content[: enough * GENEROUS_CHARACTERS_PER_TOKEN]
    tokens = len(tokenizer.encode(beginning).ids)
    if len(beginning) < len(content) and tokens <= enough:
        tokens = len(tokenizer.encode(content).ids)
    return tokens


@lru_cache(maxsize=8)
def _read_tokenizer(file: FileVersion) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(file.path))
    # Some checkpoints come with a setting that would cut every text to the length of one input.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
