"""Our embedder over a file of passages: python ours.py ADDRESS PASSAGES.json VECTORS.npy PASSES"""

import sys

from timed import timed

from weightwright.connect import open_embedder

embedder = open_embedder(sys.argv[1])
timed(lambda passages: embedder.embed(passages, kind="passage"))
