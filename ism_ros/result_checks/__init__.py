"""What makes a result doubtful: units that are wrong, images without colours, proposals that were too small."""
