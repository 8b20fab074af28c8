"""OpenAI's chat completions and completions, with vLLM's fields beyond them."""

__all__ = ["answer", "client", "embeddings", "logprobs", "messages", "protocol", "replies", "requests"]
