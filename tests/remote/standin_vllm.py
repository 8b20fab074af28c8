"""A small real server of OpenAI's API under vLLM's command line: ours, over the model that it is told."""

import argparse
import os


def main() -> None:
    from weightwright.cli.progress import bar
    from weightwright.serve.run import serve
    from weightwright.serve.settings import ServeSettings

    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    for name in ("model", "served-model-name", "host", "port", "tensor-parallel-size", "dtype", "max-lora-rank",
                 "max-model-len", "max-num-seqs"):  # fmt: skip
        parser.add_argument(f"--{name}")
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--lora-modules", nargs="*", default=[])
    told = parser.parse_args()
    settings = ServeSettings(
        model=told.model, name=told.served_model_name, host=told.host, port=int(told.port),
        adapter=tuple(told.lora_modules), api_key=os.environ["VLLM_API_KEY"],
        engine={"precision": "f32", "device": "cpu"},
    )  # fmt: skip
    serve(settings, bar)


if __name__ == "__main__":
    main()
