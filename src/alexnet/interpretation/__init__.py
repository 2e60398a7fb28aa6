"""Figures and reports: what the network learned."""
