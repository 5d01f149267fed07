"""Parts of neural networks that several networks share."""
