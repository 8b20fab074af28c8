"""Quantise a GGUF file by llama.cpp itself: python llama_cpp_quantize.py FROM.gguf TO.gguf FORM."""

import sys

import llama_cpp as lib


def main() -> None:
    source, target, form = sys.argv[1:4]
    options = lib.llama_model_quantize_default_params()
    options.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{form}")
    options.nthread = 2
    if lib.llama_model_quantize(source.encode(), target.encode(), options):
        raise SystemExit(f"llama.cpp could not make {target}")


if __name__ == "__main__":
    main()
