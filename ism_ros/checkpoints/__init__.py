"""Official checkpoints: which there are, downloads, verification, and loading into the transformers library's models.

The architectures are the library's. Checkpoints are published in two forms: the authors' own files, whose keys are
mapped here, complete both ways, and safetensors folders in the library's own layout. One loader a family.
"""
