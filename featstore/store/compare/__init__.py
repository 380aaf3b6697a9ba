"""Comparing stores: recipes, keys, and cosines of embeddings."""
