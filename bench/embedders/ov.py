"""OpenVINO GenAI's pipeline for embeddings: python ov.py FOLDER PASSAGES.json VECTORS.npy PASSES

The first run in a folder writes the model in OpenVINO's form to FOLDER-ir (kept for the next).
"""

import sys
from pathlib import Path

import numpy as np
from timed import timed

folder = Path(sys.argv[1])
target = folder.with_name(folder.name + "-ir")


def convert() -> None:
    import openvino
    import torch
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.ones(2, 8, dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": ids, "token_type_ids": ids * 0}
    target.mkdir()
    whole = openvino.convert_model(model, example_input=inputs)
    states = openvino.Model(whole.outputs[:1], whole.get_parameters())  # without BERT's pooler
    openvino.save_model(states, target / "openvino_model.xml")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    openvino.save_model(convert_tokenizer(tokenizer), target / "openvino_tokenizer.xml")
    model.config.save_pretrained(target)
    tokenizer.save_pretrained(target)


if not (target / "openvino_model.xml").exists():
    convert()

import openvino_genai  # noqa: E402

config = openvino_genai.TextEmbeddingPipeline.Config()
config.normalize = True
config.pooling_type = openvino_genai.TextEmbeddingPipeline.PoolingType.MEAN
pipeline = openvino_genai.TextEmbeddingPipeline(target, "CPU", config)


def embed(passages):
    """In order of length, 32 at a time: it pads each call to its longest."""
    order = sorted(range(len(passages)), key=lambda i: len(passages[i]))
    vectors = np.zeros((len(passages), 384), np.float32)
    for first in range(0, len(order), 32):
        some = order[first : first + 32]
        vectors[some] = pipeline.embed_documents([passages[i] for i in some])
    return vectors


timed(embed)
