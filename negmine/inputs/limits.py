"""How much is held at once. Read through the module, so that tests can lower a size."""

from __future__ import annotations

MAX_BATCH_ROWS = 8192
MAX_BATCH_BYTES = 16 << 20
#: Longer than any document; a file without newlines must not be read into memory whole.
MAX_LINE_BYTES = 256 << 20
#: The csv module holds four bytes for each character of the field that it is reading.
MAX_CSV_FIELD_CHARS = 64 << 20
BLOCK_BYTES = 4 << 20
