"""LLaMA-Factory's keys that do not become settings, each with why, and names that map one to one."""

from collections.abc import Mapping
from dataclasses import dataclass

OLD_NAMES = {"evaluation_strategy": "eval_strategy", "new_special_tokens": "add_special_tokens"}

SCHEDULES = {
    "cosine": "cosine",
    "linear": "linear",
    "constant": "constant",
    "constant_with_warmup": "constant",
}
OPTIMIZERS = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw", "sgd": "sgd",
    "adamw_apex_fused": "adamw", "paged_adamw": "adamw", "paged_adamw_32bit": "adamw",
    "adamw_8bit": "adamw8bit", "adamw_bnb_8bit": "adamw8bit", "paged_adamw_8bit": "adamw8bit",
}  # fmt: skip

# keys that say what happens here anyway, or that our loop has no use for
NEEDLESS = frozenset({
    "do_train", "do_eval", "overwrite_cache", "preprocessing_num_workers", "preprocessing_batch_size",
    "dataloader_num_workers", "dataloader_pin_memory", "ddp_timeout", "ddp_find_unused_parameters", "flash_attn",
    "enable_liger_kernel", "use_unsloth", "use_unsloth_gc", "use_reentrant_gc", "logging_steps", "logging_strategy",
    "logging_first_step", "plot_loss", "run_name", "save_strategy", "save_safetensors",
    "include_num_input_tokens_seen",
    "per_device_eval_batch_size", "eval_accumulation_steps", "remove_unused_columns", "group_by_length",
    "low_cpu_mem_usage", "cache_dir", "use_fast_tokenizer", "split_special_tokens", "print_param_status",
    "trust_remote_code_datasets", "log_level", "disable_tqdm", "use_cache",
})  # fmt: skip

_PREFERENCE = "there is no reward model here; preferences are learnt by dpo, orpo, simpo or kto"
_CHAT = "not of tuning: weightwright chat and weightwright serve read it with --llamafactory FILE"
_EXPORT = "weightwright merge and weightwright export write models"
_GPUS = "several GPUs: start the same command under torchrun with --fsdp"
_FREEZE = "parts of the weights cannot be trained alone; method is lora, qlora or full"
_OPTIMIZER = "optimizers are adamw, adamw8bit and sgd"
CURVES = "curves are written as loss.png, log.jsonl and, with --tensorboard, for TensorBoard"
_MEDIA = "pictures, videos and sound are not read"
_TOWER = "rows are text: the language model alone learns"
_STREAM = "rows are read whole, not streamed or mixed by shares; put them into one file as you want them"
_STACK = (
    "continue from an adapter: merge it first (weightwright merge MODEL+ADAPTER) and tune the merged folder"
)

Absent = Mapping[str, tuple[tuple[object, ...], str]]


@dataclass(frozen=True, slots=True)
class Tables:
    """What is known of a trainer's keys: other names, those without need or counterpart here, and those read.

    `none_here` has for each key the values that change nothing here, and why any other has no counterpart.
    """

    old_names: Mapping[str, str]
    needless: frozenset[str]
    none_here: Absent
    mapped: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """Every known key."""
        return self.mapped | self.needless | self.none_here.keys() | self.old_names.keys()


NONE_HERE: Absent = {
    "adapter_name_or_path": ((), _STACK),
    "create_new_adapter": ((False,), _STACK),
    "trust_remote_code": ((False,), "code that comes with a model is not run in tuning"),

    "do_predict": ((False,), "answers to a file of prompts: weightwright batch"),
    "predict_with_generate": ((False,), "answers to a file of prompts: weightwright batch"),
    "compute_accuracy": ((False,), "the held-out loss is reported; weightwright compare measures answers"),
    "eval_on_each_dataset": ((False,), "one held-out loss is reported over all of eval_data"),
    "additional_target": ((), "modules trained and saved whole are not offered beside an adapter"),
    "loraplus_lr_ratio": ((), "both adapter matrices have one learning rate here"),
    "loraplus_lr_embedding": ((), "embeddings are not trained beside an adapter"),
    "pissa_init": ((False,), "adapters start from zero change here, not from the base weights' largest parts"),
    "pissa_iter": ((), "belongs to pissa_init"),
    "pissa_convert": ((False,), "belongs to pissa_init"),
    "quantization_method": (("bnb", "bitsandbytes"), "4 bits come from bitsandbytes"),
    "quantization_type": (("nf4",), "4 bits are NF4"),
    "double_quantization": ((True,), "NF4's scales are always quantised, too"),
    "media_dir": ((), _MEDIA),
    "image_max_pixels": ((), _MEDIA),
    "image_min_pixels": ((), _MEDIA),
    "video_max_pixels": ((), _MEDIA),
    "video_fps": ((), _MEDIA),
    "freeze_vision_tower": ((True,), _TOWER),
    "freeze_multi_modal_projector": ((True,), _TOWER),
    "freeze_language_model": ((False,), _TOWER),
    "default_system": ((), "write the system message into the rows, or into the model's chat template"),
    "tool_format": ((), "tools are written as the model's own chat template writes them"),
    "enable_thinking": ((), "the model's own chat template decides what it writes of thoughts"),
    "preserve_thinking": ((False,), "the model's own chat template decides what it keeps of thoughts"),
    "max_samples": ((), "all rows are read; put the rows that you want into a file (num_samples in dataset_info.json "
                        "is read)"),
    "fp16": ((False,), "half precision is bf16 here, which needs no loss scaling: --precision bf16"),
    "fp8": ((False,), "there are no fp8 products here"),
    "rope_scaling": ((), "a longer context is set in the model's config.json"),
    "resize_vocab": ((False,), "the vocabulary is the base model's"),
    "add_tokens": ((), "the vocabulary is the base model's"),
    "add_special_tokens": ((), "the vocabulary is the base model's"),
    "upcast_layernorm": ((False,), "norms compute in f32 anyway, their weights stay in the base model's precision"),
    "upcast_lmhead_output": ((False,), "the loss is computed in f32 anyway"),
    "neftune_noise_alpha": ((), "no noise is added to embeddings here"),
    "label_smoothing_factor": ((0, 0.0), "labels are not smoothed in sft"),
    "dataloader_drop_last": ((False,), "no row is left out: the last step of all may have fewer"),
    "save_only_model": ((False,), "checkpoints always hold all that a run needs to go on"),
    "logging_dir": ((), "TensorBoard's files are in the folder tensorboard of the run's"),
    "overwrite_output_dir": ((False,), "a folder with another run is refused, never overwritten; choose another out"),
    "early_stopping_steps": ((), "a run is not stopped by its held-out loss; the diagnosis says when it rose"),
    "load_best_model_at_end": ((False,), "the last weights are kept; the diagnosis says when the held-out loss rose"),
    "metric_for_best_model": ((), "the last weights are kept"),
    "deepspeed": ((), _GPUS),
    "fsdp": ((), _GPUS),
    "fsdp_config": ((), _GPUS),
    "tokenized_path": ((), "tokens are made anew in seconds and not kept"),
    "streaming": ((False,), _STREAM),
    "buffer_size": ((), _STREAM),
    "mix_strategy": (("concat",), _STREAM),
    "interleave_probs": ((), _STREAM),
    "pref_ftx": ((0, 0.0), "no supervised loss is added to preferences; orpo holds one"),
    "pref_bco_weight": ((0, 0.0), "the BCO loss is not offered"),
    "ld_alpha": ((), "LD-DPO is not offered"),
    "ref_model": ((), "the model before training is what dpo and kto compare with"),
    "ref_model_adapters": ((), "the model before training is what dpo and kto compare with"),
    "ref_model_quantization_bit": ((), "the model before training is what dpo and kto compare with"),
    "reward_model": ((), _PREFERENCE),
    "reward_model_adapters": ((), _PREFERENCE),
    "reward_model_quantization_bit": ((), _PREFERENCE),
    "reward_model_type": ((), _PREFERENCE),
    "ppo_buffer_size": ((), _PREFERENCE),
    "ppo_epochs": ((), _PREFERENCE),
    "ppo_target": ((), _PREFERENCE),
    "ppo_score_norm": ((), _PREFERENCE),
    "ppo_whiten_rewards": ((), _PREFERENCE),
    "freeze_trainable_layers": ((), _FREEZE),
    "freeze_trainable_modules": ((), _FREEZE),
    "freeze_extra_modules": ((), _FREEZE),
    "use_llama_pro": ((False,), _FREEZE),
    "use_galore": ((False,), _OPTIMIZER),
    "use_apollo": ((False,), _OPTIMIZER),
    "use_badam": ((False,), _OPTIMIZER),
    "use_adam_mini": ((False,), _OPTIMIZER),
    "use_muon": ((False,), _OPTIMIZER),
    "use_swanlab": ((False,), CURVES),
    "push_to_hub": ((False,), "nothing is uploaded; write the model and upload it with the hub's own tool"),
    "export_dir": ((), _EXPORT),
    "export_size": ((), _EXPORT),
    "export_device": ((), _EXPORT),
    "export_quantization_bit": ((), _EXPORT),
    "export_quantization_dataset": ((), _EXPORT),
    "export_quantization_nsamples": ((), _EXPORT),
    "export_quantization_maxlen": ((), _EXPORT),
    "export_legacy_format": ((False,), _EXPORT),
    "export_hub_model_id": ((), "nothing is uploaded; write the model and upload it with the hub's own tool"),
    "infer_backend": ((), _CHAT),
    "infer_dtype": ((), _CHAT),
    "vllm_maxlen": ((), _CHAT),
    "vllm_gpu_util": ((), _CHAT),
    "vllm_enforce_eager": ((), _CHAT),
    "do_sample": ((), _CHAT),
    "temperature": ((), _CHAT),
    "top_p": ((), _CHAT),
    "top_k": ((), _CHAT),
    "num_beams": ((), _CHAT),
    "max_length": ((), _CHAT),
    "max_new_tokens": ((), _CHAT),
    "repetition_penalty": ((), _CHAT),
    "length_penalty": ((), _CHAT),
}  # fmt: skip

# transformers' training arguments that become settings
TRAINER = frozenset({
    "model_name_or_path", "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps",
    "num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "warmup_ratio",
    "weight_decay", "max_grad_norm", "seed", "optim", "pure_bf16", "bf16", "tf32", "use_cpu", "save_steps",
    "save_total_limit", "resume_from_checkpoint", "eval_strategy", "eval_steps", "report_to",
})  # fmt: skip
_MAPPED = TRAINER | {
    "dataset", "eval_dataset", "dataset_dir", "template", "finetuning_type",
    "quantization_bit", "lora_rank", "lora_alpha", "lora_dropout", "lora_target", "use_dora", "use_rslora", "stage",
    "pref_loss", "pref_beta", "simpo_gamma", "dpo_label_smoothing", "kto_chosen_weight", "kto_rejected_weight",
    "train_on_prompt", "mask_history", "cutoff_len", "packing", "neat_packing", "disable_gradient_checkpointing",
    "val_size",
}  # fmt: skip
LLAMAFACTORY = Tables(OLD_NAMES, NEEDLESS, NONE_HERE, _MAPPED)
