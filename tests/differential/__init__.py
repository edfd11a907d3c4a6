"""What the real libraries load from a repository must be what the scan looks at, or the scan must block.

`repositories` writes a random small repository from a seed, `loaders` loads it with transformers, diffusers, peft,
sentence-transformers and open_clip, `compare` holds the towers that they load against those that are scanned.
`python -m tests.differential` does so for many seeds. ComfyUI and A1111 are no libraries: their rules are not tried.
"""
