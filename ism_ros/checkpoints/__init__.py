"""Official checkpoints, read into the architectures of the transformers library. One file a family.

Architectures are the library's, checkpoints are published in two forms: the authors' own files, whose keys are mapped
here, complete both ways, and safetensors folders in the library's own layout.
"""
