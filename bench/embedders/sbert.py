"""sentence-transformers: python sbert.py FOLDER PASSAGES.json VECTORS.npy PASSES f32|bf16"""

import sys

import torch
from sentence_transformers import SentenceTransformer
from timed import timed

precision = {"f32": torch.float32, "bf16": torch.bfloat16}[sys.argv[5]]
model = SentenceTransformer(sys.argv[1], device="cpu", model_kwargs={"dtype": precision})


def embed(passages):
    vectors = model.encode(passages, batch_size=32, normalize_embeddings=True, convert_to_tensor=True)
    return vectors.float().numpy()


timed(embed)
