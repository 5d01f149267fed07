"""How the probabilities of the matcher `verified` are fitted: evidence of rendered scenes, networks, reliability."""
