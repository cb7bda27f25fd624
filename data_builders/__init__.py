"""TFDS builders, one a corpus. They import `fingerprint`; nothing in `fingerprint` imports them."""
