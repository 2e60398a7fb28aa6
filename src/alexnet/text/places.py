"""What people are shown of a folder in the cache: the address that its files were brought from."""

import os

_ADDRESSES: dict[str, str] = {}


def show_as(folder: str | os.PathLike[str], address: str) -> None:
    """Have every text for people name an address in place of this folder, whose path is in no other's."""
    _ADDRESSES[os.fspath(folder)] = address


def shown(text: str) -> str:
    """Return a text with addresses in place of the folders of the cache; one without them as it is."""
    for folder, address in _ADDRESSES.items():
        text = text.replace(folder, address)
    return text
