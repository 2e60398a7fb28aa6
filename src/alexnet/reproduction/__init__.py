"""The experiments of the paper, as plans that one engine carries out."""
