"""Language models: clients, the one retry layer, limits, prices, and choosing among several."""
